"""Tasks without their images: black ones of the same shapes, for what depends on shapes alone."""

import jax.numpy as jnp
import numpy as np

from common.data.numbers import SYMBOLS, fit_crop
from common.data.own_images.splits import Resize
from common.data.recipes.base import sample_shapes
from common.data.recipes.crops import Crop
from common.data.source import Source
from common.data.tasks import Dataset, find_task


def blank_task(name: str, resize: Resize = None, grayscale: bool | None = None) -> Dataset:
    """A task whose splits hold one black image each; nothing is read, rendered or drawn.

    Args:
        name: a key of `TASKS` other than `images`.
        resize: whole numbers only: the side of a crop, see `load_task`.
        grayscale: whole numbers only: see `load_task`.

    Returns:
        The data set: images uint8 `[1, H, W, C]`, labels int32 `[1]` or `[1, S]`, all zeros.

    Raises:
        ValueError: if the name is unknown, or `images`, whose shapes are those of your own.
    """
    task = find_task(name)
    if name == "images":
        raise ValueError("task 'images' has the shapes of your own images, so it cannot be blank")
    if task.numbers is None:
        # Three images, since no recipe needs more.
        source = Source(np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int32))
        shapes = sample_shapes(task.recipe, source)
        recipe, class_names = task.recipe, task.recipe.name_classes(SYMBOLS[:-1])
    else:
        assert isinstance(task.recipe, Crop)
        recipe, _ = fit_crop(task.recipe, task.numbers, resize)
        gray = task.numbers.grayscale if grayscale is None else grayscale
        shapes = (recipe.height, recipe.width, 1 if gray else 3), (task.numbers.num_symbols,)
        class_names = SYMBOLS
    image_shape, label_shape = shapes
    blank = Source(np.zeros((1, *image_shape), np.uint8), np.zeros((1, *label_shape), np.int32))
    return Dataset(name, Source(*map(jnp.asarray, blank)), blank, blank, recipe, class_names)
