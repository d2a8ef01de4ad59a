"""The tasks by name, the data sets they load, and the batches drawn from them.

Training images are drawn afresh at every step (`sample_batch`). Validation and test images are fixed: made
once from the seed published in the task (`fixed_split`), one for each image of the split in order, and
checked against the digests published here. Distractors of a split come from images of the same split.
"""

import difflib
import functools
import hashlib
import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.canvas import Canvas
from common.data.mnist import load_mnist
from common.data.own_images import EXPECTED_DATA, load_own_images
from common.data.recipe import Plain, Recipe, sample_shapes
from common.data.source import SPLITS, Source


@dataclass(frozen=True)
class Task:
    """How a data set is made from labelled images.

    Attributes:
        name: the name under which it is loaded.
        recipe: how its images and labels are made from those of the source.
        description: one line for people.
        seed: the seed of the fixed validation and test images, 0..2**32-1.
    """

    name: str
    recipe: Recipe
    description: str
    seed: int


TASKS = {
    task.name: task
    for task in (
        Task("mnist28", Plain(), "28x28, the digits", 28),
        Task("translated60", Canvas(60, 60), "60x60, one digit at a uniform place", 600),
        Task("cluttered60", Canvas(60, 60, 4, 8), "60x60, one digit and four 8x8 distractors", 604),
        Task("cluttered100", Canvas(100, 100, 8, 8), "100x100, one digit and eight 8x8 distractors", 1008),
        Task("augmented100", Canvas(100, 100, 8, 9), "100x100, one digit and eight 9x9 distractors", 1009),
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


def find_task(name: str) -> Task:
    """Looks up a task by name.

    Raises:
        ValueError: if there is none of that name; the message suggests the nearest and lists all.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown task {name!r};{hint} allowed: {', '.join(TASKS)}")


def load_task(
    name: str,
    data: str | os.PathLike[str] | None = None,
    resize: tuple[int, int] | int | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    grayscale: bool | None = None,
) -> Dataset:
    """Loads a task, made from MNIST or from your own images.

    Args:
        name: a key of `TASKS`.
        data: None for MNIST; else a folder (see `load_folder`) or an `.npz` file (see `load_npz`).
        resize: own images only: their size in pixels, (rows, columns) or one number for both.
        validation_fraction: own images only: the share of each class set apart if they come with no
            validation split.
        test_fraction: the same for the test split.
        split_seed: own images only: seed of that choice.
        grayscale: own images only: True for one channel, False for RGB, None to keep what the files have.

    Returns:
        The data set. `train` is on the default device, `validation` and `test` are on the host.

    Raises:
        ValueError: if the name is unknown, the data are missing or malformed, or do not fit the recipe, or
            the fixed MNIST images are not the published ones.
    """
    task = find_task(name)
    if data is not None:
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
    if data is None:
        for split, source in fixed.items():
            _verify(source, name, split)
    train = jax.tree.map(jnp.asarray, sources["train"])
    return Dataset(name, train, fixed["validation"], fixed["test"], task.recipe, class_names)


def sample_batch(
    key: Key[Array, ""], train: Source, recipe: Recipe, batch_size: int
) -> tuple[UInt8[Array, "B H W C"], Int[Array, "B *S"]]:
    """Draws a batch of training images, independently and with replacement.

    Jit it with `recipe` and `batch_size` static, and pass `train` as an argument: captured as a constant, the
    pool would be copied into the program.

    Args:
        key: typed key `[]`.
        train: the pool, images uint8 `[N, h, w, C]`, labels int32 `[N]` or `[N, S]`.
        recipe: how each image and label is made.
        batch_size: B.

    Returns:
        Images uint8 `[B, H, W, C]` and labels int32, `[B]` or `[B, S]`.

    Raises:
        ValueError: if the images do not fit the recipe.
    """
    train = jax.tree.map(jnp.asarray, train)
    return jax.vmap(lambda one: recipe.draw(one, train))(jax.random.split(key, batch_size))


@functools.partial(jax.jit, static_argnames="recipe")
def _draw_chunk(key, indices, source, recipe):
    return jax.vmap(lambda index: recipe.draw_of(jax.random.fold_in(key, index), index, source))(indices)


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
        raise ValueError(f"unknown split {split_name!r}; allowed: {', '.join(SPLITS)}")
    count = len(source.images)
    image_shape, label_shape = sample_shapes(task.recipe, source)
    if task.recipe == Plain():
        return Source(np.asarray(source.images), np.asarray(source.labels, np.int32))
    key = jax.random.fold_in(jax.random.key(task.seed, impl="threefry2x32"), SPLITS.index(split_name))
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
