"""The tasks by name, the data sets they load, and the batches drawn from them.

Training images are drawn afresh at every step (`sample_batch`). Validation and test images are fixed: made
once from the seed published in the task (`fixed_split`), one for each image of the split in order, and
checked against the digests published here. Distractors of a split come from images of the same split.
"""

import dataclasses
import functools
import hashlib
import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.augmentation import Augmentation
from common.data.digests import DIGESTS
from common.data.house_numbers.pool import Progress
from common.data.mnist import load_mnist
from common.data.numbers import CACHE, SYMBOLS, Numbers, fit_crop, load_numbers
from common.data.own_images.load import EXPECTED_DATA, load_own_images
from common.data.recipes.base import Plain, Recipe, sample_shapes
from common.data.recipes.canvas import Canvas, draw_layout
from common.data.recipes.crops import Crop
from common.data.recipes.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.recipes.pairs import Pair
from common.data.source import SPLITS, Source
from common.names import unknown


@dataclass(frozen=True)
class Task:
    """How a data set is made from labelled images.

    Attributes:
        name: the name under which it is loaded.
        recipe: how its images and labels are made from those of the source.
        description: one line for people.
        seed: the seed of the fixed validation and test images, 0..2**32-1.
        numbers: the images of whole numbers, or None for a task made from MNIST or from your own images.
    """

    name: str
    recipe: Recipe
    description: str
    seed: int
    numbers: Numbers | None = None


TASKS = {
    task.name: task
    for task in (
        Task("mnist28", Plain(), "28x28, the digits", 28),
        Task("translated60", Canvas(60, 60), "60x60, one digit at a uniform place", 600),
        Task("cluttered60", Canvas(60, 60, 4, 8), "60x60, one digit and four 8x8 distractors", 604),
        Task("cluttered100", Canvas(100, 100, 8, 8), "100x100, one digit and eight 8x8 distractors", 1008),
        Task("augmented100", Canvas(100, 100, 8, 9), "100x100, one digit and eight 9x9 distractors", 1009),
        # Both show the same images.
        Task("pairs100", Pair("set", 100, 100, 8, 8), "100x100, a set of two digits, eight 8x8 distractors", 1002),
        Task("pairs100_sequence", Pair("sequence", 100, 100, 8, 8), "the same, digits from left to right", 1002),
        Task("addition100", Pair("sum", 100, 100), "100x100, two digits, labelled with their sum", 1019),
        Task("house_numbers", Crop(54, 54), "54x54, rendered house numbers of 1 to 5 digits", 7, Numbers()),
        Task(
            "house_numbers_110", Crop(110, 110), "110x110, the same in a wider view", 7, Numbers(size=128, growth=2.6)
        ),
        Task(
            "house_numbers_new_fonts",
            Crop(54, 54),
            "house_numbers, tested on fonts never trained on",
            7,
            Numbers(test="new_fonts"),
        ),
        Task("svhn_numbers", Crop(54, 54), "54x54, the full numbers of SVHN", 8, Numbers(svhn=True)),
        Task(
            "svhn_numbers_110",
            Crop(110, 110),
            "110x110, the same in a wider view",
            8,
            Numbers(svhn=True, size=128, growth=2.6),
        ),
        Task(
            "svhn_numbers_32",
            Crop(32, 32),
            "32x32, the same tightly cropped, gray, labels of five digits without an end symbol",
            8,
            Numbers(svhn=True, size=32, growth=1.0, grayscale=True, num_symbols=5),
        ),
        Task("distorted/R", Rotated(), "28x28, a digit turned by up to 90 degrees", 2801),
        Task("distorted/RTS", RotatedScaledMoved(), "42x42, a digit turned, scaled and moved", 4202),
        Task("distorted/P", Projected(), "28x28, a digit in perspective", 2803),
        Task("distorted/E", Elastic(), "28x28, a digit bent by a thin-plate spline", 2804),
        Task("tc60", Canvas(60, 60, 6, 6), "60x60, one digit and six 6x6 distractors", 606),
        Task("two_channel_addition42", TwoChannelSum(), "42x42, two digits in two channels, their sum", 4205),
        Task("T84", Canvas(84, 84), "84x84, one digit at a uniform place", 840),
        Task("TC84", Canvas(84, 84, 16, 6), "84x84, one digit and sixteen 6x6 distractors", 846),
        Task("images", Plain(), "your own images, as they are", 0),
    )
}

# Bounds the memory of one call; a split of any length then compiles one program.
_CHUNK = 256


@dataclass(frozen=True)
class Dataset:
    """A loaded task.

    Attributes:
        name: the name of the task.
        train: the pool that training images are drawn from, JAX arrays: images uint8 `[N, h, w, C]`, labels
            int32 `[N]` or `[N, S]`.
        validation: fixed images, NumPy arrays: images uint8 `[N, H, W, C]`, labels int32 `[N]`, or `[N, S]` if
            a label is a sequence of S symbols (see `Source`).
        test: as validation.
        recipe: how training images and their labels are made from the pool.
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
        """Rows H of the images an agent sees, in pixels."""
        return self.validation.images.shape[1]

    @property
    def width(self) -> int:
        """Columns W of the images an agent sees, in pixels."""
        return self.validation.images.shape[2]

    @property
    def channels(self) -> int:
        """Channels C of the images."""
        return self.validation.images.shape[3]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels (H, W, C) of the images an agent sees."""
        return self.height, self.width, self.channels

    @property
    def num_classes(self) -> int:
        """Number of classes, or of symbols with the end symbol; labels are 0..num_classes-1."""
        return len(self.class_names)

    @property
    def num_targets(self) -> int | None:
        """Number of symbols S of a label, or None if a label is one class."""
        return self.validation.labels.shape[1] if self.validation.labels.ndim == 2 else None

    @property
    def end_symbol(self) -> int | None:
        """The symbol that ends a sequence, the last one; None if a label is one class."""
        return None if self.num_targets is None else self.num_classes - 1


def find_task(name: str) -> Task:
    """Looks up a task by name.

    Raises:
        ValueError: if there is none of that name; the message suggests the nearest and lists all.
    """
    if name in TASKS:
        return TASKS[name]
    raise unknown("task", name, TASKS)


def load_task(
    name: str,
    data: str | os.PathLike[str] | None = None,
    resize: tuple[int, int] | int | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    grayscale: bool | None = None,
    num_images: tuple[int, int, int] | None = None,
    cache_dir: str | os.PathLike[str] = CACHE,
    progress: Progress | None = None,
    train: bool = True,
) -> Dataset:
    """Loads a task, made from MNIST, from your own images, from SVHN, or from rendered house numbers.

    Args:
        name: a key of `TASKS`.
        data: None for MNIST and for what is rendered; for SVHN the folder of its files (see `load_svhn`); else a folder
            (see `load_folder`) or an `.npz` file (see `load_npz`).
        resize: own images: their size in pixels, (rows, columns) or one number for both. Whole numbers: the side of
            a crop, instead of that of the task.
        validation_fraction: own images only: the share of each class set apart if they come with no
            validation split.
        test_fraction: the same for the test split.
        split_seed: own images only: seed of that choice.
        grayscale: own images: True for one channel, False for RGB, None to keep what the files have. Whole numbers:
            True for one channel, False for RGB.
        num_images: house numbers only: how many are rendered for train, validation and test; None for 60,000, 5,000
            and 10,000.
        cache_dir: whole numbers only: the folder where they are kept once they are rendered or cropped.
        progress: whole numbers only: called with the split, the number of images made so far, and of all.
        train: whole numbers only: whether the training images are needed; else there is but one (see `load_numbers`).

    Returns:
        The data set. `train` is on the default device, `validation` and `test` are on the host.

    Raises:
        ValueError: if the name is unknown, the data are missing or malformed, or do not fit the recipe, or
            the fixed MNIST images are not the published ones.
    """
    task = find_task(name)
    if num_images is not None and task.numbers is None:
        raise ValueError(f"num_images {num_images} is for house numbers only; {name!r} has the images it has")
    if task.numbers is not None:
        assert isinstance(task.recipe, Crop)
        numbers = task.numbers
        crop, size = fit_crop(task.recipe, numbers, resize)
        task, class_names = dataclasses.replace(task, recipe=crop), SYMBOLS
        sources = load_numbers(
            name,
            numbers,
            size,
            task.seed,
            grayscale,
            data,
            num_images=num_images,
            cache_dir=cache_dir,
            progress=progress,
            train=train,
        )
    elif data is not None:
        sources, class_names = load_own_images(
            data,
            resize=resize,
            grayscale=grayscale,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            split_seed=split_seed,
        )
    elif name == "images":
        raise ValueError(f"task 'images' needs data (--data): it {EXPECTED_DATA}")
    elif resize is not None or grayscale is not None:
        given = f"resize {resize} (--resize)" if resize is not None else f"grayscale {grayscale}"
        raise ValueError(f"{given} is for your own images only, so give data (--data) too; MNIST is used as it is")
    else:
        sources, class_names = load_mnist(), tuple(str(digit) for digit in range(10))
    # All splits are checked before any is made, so that a misfit costs no time.
    for source in sources.values():
        task.recipe.check(source)
    class_names = task.recipe.name_classes(class_names)
    fixed = {split: fixed_split(sources[split], task, split) for split in ("validation", "test")}
    if data is None and task.numbers is None:
        for split, source in fixed.items():
            _verify(source, name, split)
    pool = jax.tree.map(jnp.asarray, sources["train"])
    return Dataset(name, pool, fixed["validation"], fixed["test"], task.recipe, class_names)


def sample_batch(
    key: Key[Array, ""], train: Source, recipe: Recipe, batch_size: int, augment: Augmentation | None = None
) -> tuple[UInt8[Array, "B H W C"], Int[Array, " B *S"]]:
    """Draws a batch of training images, independently and with replacement.

    Jit it with `recipe`, `batch_size` and `augment` static, and pass `train` as an argument: captured as a constant,
    the pool would be copied into the program.

    Args:
        key: typed key `[]`.
        train: the pool, images uint8 `[N, h, w, C]`, labels int32 `[N]` or `[N, S]`.
        recipe: how each image and label is made.
        batch_size: B.
        augment: what is done to the images, with a key of its own (see `augmentation`); None for nothing.

    Returns:
        Images uint8 `[B, H, W, C]` and labels int32, `[B]` or `[B, S]`.

    Raises:
        ValueError: if the images do not fit the recipe.
    """
    if augment is not None:
        draw_key, augment_key = jax.random.split(key)
        images, labels = sample_batch(draw_key, train, recipe, batch_size)
        return augment(augment_key, images), labels
    train = jax.tree.map(jnp.asarray, train)
    return jax.vmap(lambda one: recipe.draw(one, train))(jax.random.split(key, batch_size))


@functools.partial(jax.jit, static_argnames="recipe")
def _draw_chunk(key, indices, source, recipe):
    return jax.vmap(lambda index: recipe.draw_of(jax.random.fold_in(key, index), index, source))(indices)


def split_key(task: Task, split_name: str) -> Key[Array, ""]:
    """The key of a fixed split: image i is drawn with this key and i folded in."""
    return jax.random.fold_in(jax.random.key(task.seed, impl="threefry2x32"), SPLITS.index(split_name))


def fixed_split(source: Source, task: Task, split_name: str) -> Source:
    """Makes the fixed images of a split: image i shows image i of the source.

    What else is on image i depends on the seed of the task, the split and i alone, besides the number and sizes
    of the images; the threefry generator makes its integers the same on every device.

    Args:
        source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.
        task: the task.
        split_name: train, validation or test.

    Returns:
        NumPy arrays: images uint8 `[N, H, W, C]`, labels int32 `[N]` or `[N, S]`.

    Raises:
        ValueError: if the split is unknown, or the images do not fit the recipe.
    """
    if split_name not in SPLITS:
        raise unknown("split", split_name, SPLITS)
    count = len(source.images)
    image_shape, label_shape = sample_shapes(task.recipe, source)
    if task.recipe == Plain():
        return Source(np.asarray(source.images), np.asarray(source.labels, np.int32))
    key = split_key(task, split_name)
    on_device = jax.tree.map(jnp.asarray, source)
    images, labels = np.empty((count, *image_shape), np.uint8), np.empty((count, *label_shape), np.int32)
    size = min(_CHUNK, count)
    for start in range(0, count, size):
        # The last chunk repeats the last image up to the full length, so that it needs no program of its own.
        indices = np.minimum(np.arange(start, start + size, dtype=np.int32), count - 1)
        drawn, drawn_labels = _draw_chunk(key, indices, on_device, task.recipe)
        images[start : start + size] = np.asarray(drawn)[: count - start]
        labels[start : start + size] = np.asarray(drawn_labels)[: count - start]
    return Source(images, labels)


def fixed_corners(source: Source, task: Task, split_name: str) -> Int[np.ndarray, "N 2"]:
    """Where the images of a fixed split show the images of the source.

    Args:
        source: images uint8 `[N, h, w, c]`, labels `[N]`.
        task: a task whose recipe is a `Canvas`.
        split_name: train, validation or test.

    Returns:
        int32 `[N, 2]`: (row, column) on the canvas of the upper left pixel.

    Raises:
        ValueError: if the recipe is another one.
    """
    canvas = task.recipe
    if not isinstance(canvas, Canvas):
        raise ValueError(f"task {task.name!r} puts no image at a place of its own on a canvas")
    key = split_key(task, split_name)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), source)

    def corner(index: Array) -> Array:
        return draw_layout(jax.random.fold_in(key, index), index, shapes, canvas).corner

    return np.asarray(jax.jit(jax.vmap(corner))(np.arange(len(source.images), dtype=np.int32)))


def digest(source: Source) -> str:
    """SHA-256, in hexadecimal, of the images in C order followed by the labels as little-endian int32.

    Args:
        source: images uint8 `[N, h, w, C]`, labels `[N]` or `[N, S]`.
    """
    sha = hashlib.sha256(np.ascontiguousarray(source.images).data)
    sha.update(np.ascontiguousarray(source.labels, "<i4").data)
    return sha.hexdigest()


def _verify(source: Source, name: str, split: str) -> None:
    expected, found = DIGESTS.get((name, split)), digest(source)
    if expected is not None and found != expected:
        raise ValueError(
            f"the {split} images of {name!r} are not the published ones (SHA-256 expected {expected}, "
            f"found {found}): JAX {jax.__version__} draws other random bits; "
            "is jax_threefry_partitionable switched off?"
        )
