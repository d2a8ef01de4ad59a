"""Blank data sets: one black image for each split, for everything that depends on shapes alone."""

import jax.numpy as jnp
import numpy as np

from common.data.dataset import Dataset, load_source
from common.data.own_images.resizing import Size
from common.data.recipes.base import Plain, Recipe, class_names_of, sample_shapes
from common.data.recipes.crops import Crop
from common.data.source import LabelledSplits, Source
from common.data.street_numbers import SYMBOLS, fit_crop
from common.data.tasks import find_task


def blank_task(name: str, resize: Size = None, grayscale: bool | None = None) -> Dataset:
    """Return a blank data set with the shapes of a task; no image is read, rendered or drawn.

    Only a task of your own with a source reads its images, because nothing else knows their shapes.

    Args:
        name: a key of `TASKS` other than `images`, or `module:name` of a `Task` of your own.
        resize: house numbers and SVHN only: the side of a crop, see `load_task`.
        grayscale: house numbers and SVHN only: see `load_task`.

    Returns:
        The data set: images uint8 `[1, H, W, C]`, labels int32 `[1]` or `[1, S]`, all zeros.

    Raises:
        ValueError: the name is unknown, or `images`, whose shapes are those of your own images; or the recipe or the
            source of a task of your own returns something else than it must.
    """
    task = find_task(name)
    if name == "images":
        raise ValueError("task 'images' has the shapes of your own images, so it cannot be blank")
    if task.numbers is None:
        # Recipes need at most three images: two digits and a distractor.
        digits = Source(np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int32))
        splits = LabelledSplits({"train": digits}, SYMBOLS[:-1]) if task.source is None else load_source(task)
        recipe, class_names = task.recipe, class_names_of(task.recipe, splits.class_names)
        image_shape, label_shape = sample_shapes(recipe, splits.sources["train"])
    else:
        assert isinstance(task.recipe, Crop)
        recipe, _ = fit_crop(task.recipe, task.numbers, resize)
        gray = task.numbers.grayscale if grayscale is None else grayscale
        image_shape, label_shape = (recipe.height, recipe.width, 1 if gray else 3), (task.numbers.num_symbols,)
        class_names = SYMBOLS
    return blank_images(name, image_shape, label_shape, class_names, recipe)


def blank_images(
    name: str,
    image_shape: tuple[int, ...],
    label_shape: tuple[int, ...],
    class_names: tuple[str, ...],
    recipe: Recipe | None = None,
) -> Dataset:
    """Return a blank data set of any shapes.

    Args:
        name: the name of the task.
        image_shape: height, width and channels (H, W, C) of the images that a model sees.
        label_shape: `()` for one class, `(S,)` for a sequence of S symbols.
        class_names: the name of each class or symbol.
        recipe: how training images are made; None for `Plain`.
    """
    blank = Source(np.zeros((1, *image_shape), np.uint8), np.zeros((1, *label_shape), np.int32))
    return Dataset(name, Source(*map(jnp.asarray, blank)), blank, blank, recipe or Plain(), class_names)
