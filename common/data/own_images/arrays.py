"""Your own images from the arrays of an `.npz` file."""

import os
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from common.checks import explained
from common.data.own_images.resizing import ResizeMode, Size, check_size, resize_picture
from common.data.own_images.splits import EXPECTED_DATA, complete_splits, missing_fractions
from common.data.source import SPLITS, LabelledSplits, Source

# NumPy and zipfile raise these for damaged files, depending on where the damage is.
BAD_FILE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    RuntimeError,
    NotImplementedError,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


def load_npz(
    path: str | os.PathLike[str],
    resize: Size = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    resize_mode: ResizeMode = "pad",
) -> LabelledSplits:
    """Load arrays from an `.npz` file, without unpickling.

    The file holds either `images` and `labels`, or `train_images` and `train_labels` and optionally the same of
    `validation` and `test`; other arrays are ignored. Images are uint8 `[N, h, w]` or `[N, h, w, C]` with C from 1 to
    4; labels are integers `[N]`, and those of training are 0..classes-1 with none missing. Classes are named by their
    numbers.

    Args:
        path: the file.
        resize: as in `load_folder`.
        grayscale: True for one channel and False for three, from images with either; None to keep the channels.
        validation_fraction: as in `load_folder`.
        test_fraction: as in `load_folder`.
        split_seed: as in `load_folder`.
        resize_mode: as in `load_folder`.

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the file, if it is not a readable `.npz` file, an array is missing or has a wrong type, shape
            or value, or a class has too few images to split.
    """
    size = check_size(resize)
    file = Path(path)
    prefixes = _find_prefixes(file)
    missing_fractions(prefixes, validation_fraction, test_fraction)  # Before any image is read.
    sources = _read_sources(file, prefixes)
    num_classes = _count_classes(file, sources)
    sources = {split: Source(images, labels.astype(np.int32)) for split, (images, labels) in sources.items()}
    stored = np.asarray(sources["train"].images)
    sources = {split: _convert(file, source, size, grayscale, resize_mode) for split, source in sources.items()}
    class_names = tuple(str(label) for label in range(num_classes))
    sources = complete_splits(
        sources, lambda i: stored[i].tobytes(), class_names, file, validation_fraction, test_fraction, split_seed
    )
    return LabelledSplits(sources, class_names)


def _find_prefixes(file: Path) -> dict[str, str]:
    """Return the prefix of the array names of each split, from the names in the file alone."""
    unreadable = f"{str(file)!r} is not a readable .npz file; data {EXPECTED_DATA}"
    with explained(unreadable, *BAD_FILE), zipfile.ZipFile(file) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    prefixes = {"train": ""} if {"images", "labels"} & names else {}
    splits = {split: f"{split}_" for split in SPLITS if {f"{split}_images", f"{split}_labels"} & names}
    complete = all({f"{prefix}images", f"{prefix}labels"} <= names for prefix in (prefixes | splits).values())
    if bool(prefixes) == bool(splits) or "train" not in prefixes | splits or not complete:
        shown = ", ".join(sorted(names)[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        raise ValueError(
            f"{str(file)!r} holds the arrays {shown}: expected images and labels, or train_images "
            "and train_labels and optionally the same of validation and test"
        )
    return prefixes or splits


def _read_sources(file: Path, prefixes: Mapping[str, str]) -> dict[str, Source]:
    """Read images uint8 `[N, h, w, C]` and integer labels `[N]` of each split."""
    arrays: dict[str, np.ndarray] = {}
    with explained(f"{str(file)!r} cannot be read", *BAD_FILE), np.load(file, allow_pickle=False) as loaded:
        for prefix in prefixes.values():
            arrays |= {name: loaded[name] for name in (f"{prefix}images", f"{prefix}labels")}
    sources = {}
    for split, prefix in prefixes.items():
        images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
        shape = (*images.shape, 1) if images.ndim == 3 else images.shape
        if images.dtype != np.uint8 or len(shape) != 4 or min(shape) < 1 or shape[3] > 4:
            raise ValueError(
                f"{str(file)!r}: {prefix}images are {images.dtype} of shape {images.shape}; expected uint8 "
                "[N, h, w] or [N, h, w, C] with no axis empty and C at most 4"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != shape[:1]:
            raise ValueError(
                f"{str(file)!r}: {prefix}labels are {labels.dtype} of shape {labels.shape}; expected integers of shape "
                f"{shape[:1]}, one for each image"
            )
        sources[split] = Source(images.reshape(shape), labels)
    shapes = {split: source.images.shape[1:] for split, source in sources.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{str(file)!r}: images of the splits differ in size or channels: {shapes}")
    return sources


def _count_classes(file: Path, sources: Mapping[str, Source]) -> int:
    """Check that the labels of all splits are 0..classes-1, and return the number of classes."""
    count = len(np.unique(sources["train"].labels))
    for split, source in sources.items():
        wrong = np.setdiff1d(source.labels, np.arange(count))
        if len(wrong):
            raise ValueError(
                f"{str(file)!r}: {split} has the label {wrong[0]}; with {count} classes in train, labels must be "
                f"0..{count - 1} with none missing"
            )
    return count


def _convert(
    file: Path, source: Source, size: tuple[int, int] | None, grayscale: bool | None, mode: ResizeMode
) -> Source:
    """Convert to gray or RGB, and resize."""
    images = np.asarray(source.images)
    channels = images.shape[-1]
    if grayscale is not None and channels not in (1, 3):
        raise ValueError(f"{str(file)!r}: grayscale {grayscale} needs images of 1 or 3 channels, not {channels}")
    if grayscale and channels == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]
    elif grayscale is False and channels == 1:
        images = np.repeat(images, 3, axis=-1)
    if size is not None and images.shape[1:3] != size:
        # One channel at a time, because Pillow has no mode for every number of channels.
        planes = [_resize_planes(images[..., channel], size, mode) for channel in range(images.shape[-1])]
        images = np.stack(planes, axis=-1)
    return Source(images, source.labels)


def _resize_planes(planes: np.ndarray, size: tuple[int, int], mode: ResizeMode) -> np.ndarray:
    pictures = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack([np.asarray(resize_picture(picture, size, mode)) for picture in pictures])
