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

from common.data.augmentation import random_shift
from common.data.canvas import Canvas, draw_layout
from common.data.crops import Crop
from common.data.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.house_pool import Progress
from common.data.mnist import load_mnist
from common.data.numbers import CACHE, SYMBOLS, Numbers, fit_crop, load_numbers
from common.data.own_images import EXPECTED_DATA, load_own_images
from common.data.pairs import Pair
from common.data.recipe import Plain, Recipe, sample_shapes
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

# SHA-256 of each fixed split made from MNIST, as `digest` computes it.
DIGESTS = {
    ("mnist28", "validation"): "cc33536cf137ca52e700cb658af02e73df6dfd6c9db9d1eb52a41597d2f79bc5",
    ("mnist28", "test"): "45a60edfded3b2bb860a7fd195c83431011e7f04318268b4f2de30030af9444e",
    ("translated60", "validation"): "7c599d09f99dc370c1771fa466b2e3adfa2d98cb8fea25564d41bff8637da2e2",
    ("translated60", "test"): "bb2acc457a9f0e28d3048b69f992fe6d0fbed8e8241420d1e9c6a75337529664",
    ("cluttered60", "validation"): "1699f18589515773fe3d7275d57ec847b5abee054f9b4c9e5dd0ecc04f2a7bb3",
    ("cluttered60", "test"): "f1171f184d72c55e7be578c4f5203c25db55b4e40dc985727ab1b774b03b3685",
    ("cluttered100", "validation"): "32f60bffc2ffaf2d735ecfa1bbbcab956f26604a63583d6e55d1a812e7d09431",
    ("cluttered100", "test"): "f583ed5565cf731aec0d4f46aba3c07f0c447b6d0675d533532a5d3e65897238",
    ("augmented100", "validation"): "a73d264c106de9d84d674fb20c70a321ed072b82f97e1c5807ed23b37478c6c1",
    ("augmented100", "test"): "e953bdef501d0551a0bfe28a50e895b2c48f0844ee65824fca9e1446e63b721c",
    ("pairs100", "validation"): "a5789f7e5e7b8cfd7ba1ae7a4a11a680e57b78129a978bcc4f89d935a98ced34",
    ("pairs100", "test"): "ac607f2b3d4cd59f91e8681cade451d4dcde4e4d2155e95480e918012194ac5d",
    ("pairs100_sequence", "validation"): "cffb7985c8a554126c92afae19e9a899f853b3b1772f52e995a3de0f2320588a",
    ("pairs100_sequence", "test"): "4e163a32b7b183bb2fb50633fa54f3c9921b9ba873fee68f109fc261e386beda",
    ("addition100", "validation"): "8c035cc03a4b7fcfe6aeab9ff0a46deb8f595bf8dffb3358760dce365bef7f4d",
    ("addition100", "test"): "9ccbba6ee188db1ec5066dcdb8a4ebbb8973f3c9d44b0f9e81772a9215b943c3",
    ("distorted/R", "validation"): "bfb0c28b25fac38bbe3aa6d62943e494ae23864b049aeb14e3b9501020ad20a1",
    ("distorted/R", "test"): "8770cc413775616bfc17859c41f232c3a25a472cd16fabb726eb6ac572c4440c",
    ("distorted/RTS", "validation"): "dd7744c6b87f2594289b781b3faaa1e6adc3a5c1f1d5d34336d3469398cf31c6",
    ("distorted/RTS", "test"): "46cbce8655fe15fe82c9107f3c711756e34b67237e33c51198953eee76151bbf",
    ("distorted/P", "validation"): "d07de32304dc42d28e69870637fc36b12dfd876e314387c6166be4a5af92dbde",
    ("distorted/P", "test"): "187c14dd2adbae2c6dda72457cdbe96cd9a836ff9aa10df966e7500ab95088c8",
    ("distorted/E", "validation"): "426c4443564ccdc14a570df2265559624a2b71ad6c9e13d0a8612b18eca772eb",
    ("distorted/E", "test"): "cff2e9eab9478576a6d9a1af492bac5528214ac252f8d57bc8115a414ac2a42c",
    ("tc60", "validation"): "86294def98b3595d755eee05e2ebe5eadda3fb342b27a9e8ace22d016f4b35b1",
    ("tc60", "test"): "16e2b863ac23eb362d1a0c8145291af5beb0dd58f69efe668b470c0fcf8d0d00",
    ("two_channel_addition42", "validation"): "630ba6d65a3e47b1a68f065a7f5de1302c6ce82221dd8dfada02fa2d0bacc11e",
    ("two_channel_addition42", "test"): "03d33552759c7ef9a3cfdc20953357d87c1d69cca2197577d0b8c76eebfcf074",
    ("T84", "validation"): "285be1acc7ef70eaf8deda8713097f7e8f93d82c0af6a552c948fa181c895621",
    ("T84", "test"): "ee1bcd22f7ad361923f03779ae89ec5c80fd7f1732d7aa8490c7c1f27f262fe4",
    ("TC84", "validation"): "1fa326701fc6b8cee04b01dfcf294fce0a9dbf7693eb048a8ee58fd2b85fb13f",
    ("TC84", "test"): "3223455f2c5c66d32dd7e387c63e8e7e3d98a2aafcb7eaf85a63090143aff687",
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
    train = jax.tree.map(jnp.asarray, sources["train"])
    return Dataset(name, train, fixed["validation"], fixed["test"], task.recipe, class_names)


def sample_batch(
    key: Key[Array, ""], train: Source, recipe: Recipe, batch_size: int, shift: int = 0
) -> tuple[UInt8[Array, "B H W C"], Int[Array, "B *S"]]:
    """Draws a batch of training images, independently and with replacement.

    Jit it with `recipe`, `batch_size` and `shift` static, and pass `train` as an argument: captured as a constant, the
    pool would be copied into the program.

    Args:
        key: typed key `[]`.
        train: the pool, images uint8 `[N, h, w, C]`, labels int32 `[N]` or `[N, S]`.
        recipe: how each image and label is made.
        batch_size: B.
        shift: largest move of each image in x and in y, in pixels (see `random_shift`).

    Returns:
        Images uint8 `[B, H, W, C]` and labels int32, `[B]` or `[B, S]`.

    Raises:
        ValueError: if the images do not fit the recipe.
    """
    if shift:
        draw_key, shift_key = jax.random.split(key)
        images, labels = sample_batch(draw_key, train, recipe, batch_size)
        return random_shift(shift_key, images, shift), labels
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
