"""Your own images from the arrays of an `.npz` file."""

import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from PIL import Image

from common.data.own_images.splits import (
    EXPECTED_DATA,
    OwnImages,
    Resize,
    check_resize,
    complete_splits,
    missing_shares,
)
from common.data.source import SPLITS, Source

# What NumPy raises for damaged or foreign files, depending on where the damage is.
_BAD_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    RuntimeError,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)
_PREFIXES = ("", *(f"{split}_" for split in SPLITS))
_KNOWN = {prefix + kind for prefix in _PREFIXES for kind in ("images", "labels")}


def load_npz(
    path: str | os.PathLike[str],
    resize: Resize = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
) -> OwnImages:
    """Loads arrays from an `.npz` file. Nothing is unpickled.

    The file holds either `images` and `labels`, or `train_images` and `train_labels` and, if wanted, the same
    of `validation` and `test`; other arrays are left alone. Images are uint8 `[N, h, w]` or `[N, h, w, C]`
    with C of 1 to 4; labels are integers `[N]`, and those of training are 0..classes-1 with none missing.
    Classes are named by their numbers.

    Args:
        path: the file.
        resize: as in `load_folder`.
        grayscale: True for one channel and False for three, from images with either; None to keep what there
            is.
        validation_fraction: as in `load_folder`.
        test_fraction: as in `load_folder`.
        split_seed: as in `load_folder`.

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the file, if it is missing or not an `.npz` file, an array is missing or of the
            wrong type or shape, a label is out of range or missing, or a class has too few images to split.
    """
    size = check_resize(resize)
    file = Path(path)
    if not file.exists():
        raise ValueError(f"no file at {str(file)!r}")
    with _open_arrays(file) as loaded:
        names = [name for name in loaded.files if name in _KNOWN]
        if not names:
            raise ValueError(f"{str(file)!r} holds {sorted(loaded.files)}; expected 'images' and 'labels'")
        prefixes = _prefixes(file, names)
        missing_shares(prefixes, validation_fraction, test_fraction, split_seed)  # Before any image is read.
        arrays = {name: _read_array(file, loaded, name) for name in names}
    sources = {split: _checked_source(file, arrays, prefix) for split, prefix in prefixes.items()}
    shapes = {split: source.images.shape[1:] for split, source in sources.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{str(file)!r}: images of the splits differ in size or channels: {shapes}")
    class_names = tuple(str(label) for label in range(_count_classes(file, sources)))
    stored = np.asarray(sources["train"].images)
    sources = {split: _convert(file, source, size, grayscale) for split, source in sources.items()}
    sources = complete_splits(
        sources,
        lambda i: stored[i].tobytes(),
        class_names,
        file,
        validation_fraction,
        test_fraction,
        split_seed,
    )
    return OwnImages(sources, class_names)


def _open_arrays(file: Path) -> NpzFile:
    """Opens the file, without reading its arrays."""
    try:
        # NumPy would take anything but a zip file for a pickle, and say so.
        opened = np.load(file, allow_pickle=False) if zipfile.is_zipfile(file) else None
    except _BAD_ARRAY as error:
        raise ValueError(f"{str(file)!r} is not a readable .npz file: {error}") from error
    if opened is None:
        raise ValueError(f"{str(file)!r} is not a readable .npz file; data {EXPECTED_DATA}")
    return opened


def _read_array(file: Path, loaded: NpzFile, name: str) -> np.ndarray:
    """One array, without unpickling."""
    try:
        return loaded[name]
    except _BAD_ARRAY as error:
        raise ValueError(f"{str(file)!r}: array {name!r} cannot be read: {error}") from error


def _prefixes(file: Path, arrays: Collection[str]) -> dict[str, str]:
    """How the names of the arrays of each split begin."""
    prefixes = {split: f"{split}_" for split in SPLITS if any(key.startswith(f"{split}_") for key in arrays)}
    if "images" in arrays or "labels" in arrays:
        if prefixes:
            raise ValueError(f"{str(file)!r} holds images both with and without splits: {sorted(arrays)}")
        return {"train": ""}
    if "train" not in prefixes:
        raise ValueError(f"{str(file)!r} holds no 'train_images' or 'images', only {sorted(arrays)}")
    return prefixes


def _checked_source(file: Path, arrays: Mapping[str, np.ndarray], prefix: str) -> Source:
    for kind in ("images", "labels"):
        if prefix + kind not in arrays:
            raise ValueError(f"{str(file)!r} holds no array {prefix + kind!r}, only {sorted(arrays)}")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    where = f"{str(file)!r}: {prefix}"
    if images.dtype != np.uint8:
        raise ValueError(f"{where}images are {images.dtype}; only uint8 is allowed")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or min(images.shape) < 1 or images.shape[3] > 4:
        raise ValueError(
            f"{where}images have shape {arrays[f'{prefix}images'].shape}; expected [N, h, w] or [N, h, w, C] "
            "with no axis empty and C at most 4"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{where}labels are {labels.dtype}; only integers are allowed")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{where}labels have shape {labels.shape}; expected {images.shape[:1]}, one for each image")
    for value in (labels.min(), labels.max()):
        if not 0 <= value <= np.iinfo(np.int32).max:
            raise ValueError(f"{where}labels hold {value}; labels must be 0..classes-1")
    return Source(images, labels.astype(np.int32))


def _count_classes(file: Path, sources: Mapping[str, Source]) -> int:
    present = np.unique(sources["train"].labels)
    for expected, found in enumerate(present):
        if found != expected:
            raise ValueError(
                f"{str(file)!r}: no training image has label {expected}, but one has {found}; labels must be "
                "0..classes-1 with none missing"
            )
    for split, source in sources.items():
        if np.max(source.labels) >= len(present):
            raise ValueError(
                f"{str(file)!r}: {split} has label {np.max(source.labels)}; train has 0..{len(present) - 1} only"
            )
    return len(present)


def _convert(file: Path, source: Source, size: tuple[int, int] | None, grayscale: bool | None) -> Source:
    images = np.asarray(source.images)
    channels = images.shape[-1]
    if grayscale is not None and channels not in (1, 3):
        raise ValueError(f"{str(file)!r}: grayscale={grayscale} needs images of 1 or 3 channels, not {channels}")
    if grayscale and channels == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]
    elif grayscale is False and channels == 1:
        images = np.repeat(images, 3, axis=-1)
    if size is not None and images.shape[1:3] != size:
        # One channel at a time, so that any number of channels will do.
        images = np.stack([_resize_planes(images[..., c], size) for c in range(images.shape[-1])], axis=-1)
    return Source(images, source.labels)


def _resize_planes(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    pictures = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack([np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)) for picture in pictures])
