"""Data sets: a task with its images loaded.

The fixed images of tasks made from MNIST are checked against the published digests (`common.data.digests`).
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from common.checks import explained
from common.data.array_cache import user_cache_dir
from common.data.digests import check_digest
from common.data.house_numbers.pool import Progress
from common.data.mnist import load_mnist
from common.data.own_images.load import EXPECTED_DATA, load_own_images
from common.data.own_images.resizing import ResizeMode, Size, check_size
from common.data.recipes.base import Recipe, check_labels, check_source, class_names_of
from common.data.recipes.crops import Crop
from common.data.recipes.reversal import Reversed, reverse_symbols
from common.data.sampling import fixed_split
from common.data.source import SPLITS, LabelledSplits, Source
from common.data.street_numbers import SYMBOLS, fit_crop, load_numbers
from common.data.tasks import Task, find_task
from common.extensions import must_return


@dataclass(frozen=True)
class Dataset:
    """A loaded task.

    Attributes:
        name: the name of the task.
        train: the images that training images are made from, JAX arrays: images uint8 `[N, h, w, C]`, labels int32
            `[N]` or `[N, S]`.
        validation: fixed images, NumPy arrays: images uint8 `[N, H, W, C]`, labels int32 `[N]`, or `[N, S]` if a label
            is a sequence of S symbols (see `Source`).
        test: as validation.
        recipe: how training images and their labels are made from `train`.
        class_names: the name of each label or symbol; the last symbol is the end symbol.
    """

    name: str
    train: Source
    validation: Source
    test: Source
    recipe: Recipe
    class_names: tuple[str, ...]

    @property
    def height(self) -> int:
        """Return the rows H of the images that a model sees, in pixels."""
        return self.validation.images.shape[1]

    @property
    def width(self) -> int:
        """Return the columns W of the images that a model sees, in pixels."""
        return self.validation.images.shape[2]

    @property
    def channels(self) -> int:
        """Return the channels C of the images."""
        return self.validation.images.shape[3]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return height, width and channels (H, W, C) of the images that a model sees."""
        return self.height, self.width, self.channels

    @property
    def num_classes(self) -> int:
        """Return the number of classes, or of symbols including the end symbol; labels are 0..num_classes-1."""
        return len(self.class_names)

    @property
    def num_targets(self) -> int | None:
        """Return the number of symbols S of a label, or None if a label is one class."""
        return self.validation.labels.shape[1] if self.validation.labels.ndim == 2 else None

    @property
    def end_symbol(self) -> int | None:
        """Return the symbol that ends a sequence, the last one; None if a label is one class."""
        return None if self.num_targets is None else self.num_classes - 1


def load_task(
    name: str,
    data: str | os.PathLike[str] | None = None,
    resize: Size = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    grayscale: bool | None = None,
    num_images: tuple[int, int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    train: bool = True,
    resize_mode: ResizeMode = "pad",
    report: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a task, made from MNIST, your own images, rendered house numbers or SVHN.

    Args:
        name: a key of `TASKS`, or `module:name` of a `Task` of your own.
        data: own images: a folder (see `load_folder`) or an `.npz` file (see `load_npz`). SVHN: the folder with its
            files (see `load_svhn`). None for everything else.
        resize: own images: their size in pixels, `HxW`, (rows, columns) or one side. House numbers and SVHN: the side
            of a crop. None for the sizes that they have.
        validation_fraction: own images only: fraction of each class that becomes validation, if they come without.
        test_fraction: the same for the test split.
        split_seed: own images only: seed of that choice.
        grayscale: own images, house numbers and SVHN: True for one channel, False for RGB, None for what they have.
        num_images: rendered house numbers only: images of train, validation and test; None for 60,000, 5,000 and
            10,000.
        cache_dir: rendered house numbers and SVHN: the folder that keeps the images; None for `user_cache_dir()`.
        progress: rendered house numbers and SVHN: called with the split, the number of images made so far, and the
            number of all images.
        train: rendered house numbers and SVHN: False if the training images are not needed; `train` then holds one.
        resize_mode: own images only: how `resize` treats the aspect ratio, see `resize_picture`.
        report: own images only: called with one line about what was loaded.

    Returns:
        The data set. `train` is on the default device, `validation` and `test` are on the host.

    Raises:
        ValueError: the name is unknown, an option does not apply to the task, the images are missing or malformed or do
            not fit the recipe, the recipe or the source returns something else than it must, or the fixed MNIST images
            are not the published ones.
    """
    check_num_images(name, num_images)
    task = find_task(name)
    if task.numbers is not None:
        numbers = task.numbers
        assert isinstance(task.recipe, Crop)
        crop, size = fit_crop(task.recipe, numbers, resize)
        task, class_names = dataclasses.replace(task, recipe=crop), SYMBOLS
        cache = user_cache_dir() if cache_dir is None else cache_dir
        sources = load_numbers(name, numbers, size, task.seed, grayscale, data, num_images, cache, progress, train)
    elif data is not None:
        sources, class_names = load_own_images(
            data, resize, grayscale, validation_fraction, test_fraction, split_seed, resize_mode, report
        )
    elif name == "images":
        raise ValueError(f"task 'images' needs data (--data): it {EXPECTED_DATA}")
    elif resize is not None or grayscale is not None:
        option = f"resize {resize!r} (--resize)" if resize is not None else f"grayscale {grayscale}"
        raise ValueError(f"{option}: only for house numbers and for your own images (--data)")
    else:
        sources, class_names = load_source(task)
    # Check all splits before any is made, so that an error costs no time.
    for source in sources.values():
        task.recipe.check(source)
    class_names = class_names_of(task.recipe, class_names)
    fixed = {split: fixed_split(sources[split], task, split) for split in ("validation", "test")}
    for split, source in fixed.items():
        check_labels(f"the recipe {type(task.recipe).__name__}, {split}", source.labels, class_names)
    if data is None and task.numbers is None and task.source is None:
        for split, source in fixed.items():
            check_digest(source, name, split)
    on_device = jax.tree.map(jnp.asarray, sources["train"])
    return Dataset(name, on_device, fixed["validation"], fixed["test"], task.recipe, class_names)


def check_num_images(name: str, num_images: Any) -> None:
    """Check that a number of images is given only for a task whose images are rendered.

    Raises:
        ValueError: one is given for another task.
    """
    numbers = find_task(name).numbers
    if num_images is not None and (numbers is None or numbers.svhn):
        raise ValueError(f"num_images {num_images}: only for rendered house numbers; {name!r} has a fixed number")


def check_resize(name: str, resize: Size) -> None:
    """Check that `load_task` can load a task at a size, before any image is read.

    Raises:
        ValueError: the task is unknown, or the size is malformed or out of range.
    """
    task = find_task(name)
    if task.numbers is None:
        check_size(resize)
    else:
        assert isinstance(task.recipe, Crop)
        fit_crop(task.recipe, task.numbers, resize)


def load_source(task: Task) -> LabelledSplits:
    """Load the images that a task is made from where the user gives none: its own, or MNIST.

    Raises:
        ValueError: the function of the task returns something else than labelled images of one size.
    """
    if task.source is None:
        return LabelledSplits(load_mnist(), SYMBOLS[:-1])
    splits, name = task.source(), getattr(task.source, "__name__", type(task.source).__name__)
    what = f"source {name}"
    with must_return(what, splits, f"LabelledSplits with the sources {', '.join(SPLITS)}"):
        chex.assert_equal((type(splits), set(splits.sources)), (LabelledSplits, set(SPLITS)))
    for split, source in splits.sources.items():
        expected = "images uint8 [N, h, w, C], of one size in all splits, with labels of whole numbers"
        with must_return(what, splits, expected):
            chex.assert_type([source.images, source.labels], [jnp.uint8, int])
            chex.assert_equal_shape([splits.sources["train"].images, source.images], dims=(1, 2, 3))
        with explained(f"the {what}, {split}"):
            check_source(source)
        check_labels(f"the {what}, {split}", source.labels, splits.class_names)
    return splits


def reverse_dataset(dataset: Dataset) -> Dataset:
    """Return a data set read from right to left: its fixed splits and its training images.

    Raises:
      ValueError: its labels are single classes.
    """
    if dataset.end_symbol is None:
        raise ValueError(f"reverse: task {dataset.name!r} has single classes as labels, not sequences")
    end = dataset.end_symbol
    validation, test = (
        split._replace(labels=np.asarray(reverse_symbols(split.labels, end)))
        for split in (dataset.validation, dataset.test)
    )
    return dataclasses.replace(dataset, validation=validation, test=test, recipe=Reversed(dataset.recipe, end))
