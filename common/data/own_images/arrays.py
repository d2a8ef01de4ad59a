"""Your own images from the arrays of an `.npz` file."""

import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.data.own_images.levels import check_levels, describe_conversion
from common.data.own_images.resizing import ResizeMode, Size, check_size, resize_picture
from common.data.own_images.spellings import is_mistyped, split_of
from common.data.own_images.splits import EXPECTED_DATA, complete_splits, missing_fractions
from common.data.own_images.summary import describe_images
from common.data.source import LabelledSplits, Source
from common.user_files import check_memory, check_regular, list_names, reading

# The names of the two arrays of a split, beside the name of the split.
_KINDS = {"images": "images", "x": "images", "labels": "labels", "y": "labels"}
_EXPECTED = (
    "expected images and labels, or train_images and train_labels and optionally the same of validation and test"
)


class _Names(NamedTuple):
    """Names of a split and of its arrays in a file.

    Attributes:
        images: the name of the array of its images.
        labels: the name of the array of its labels.
        spelling: the name of the split, as the name of its images spells it.
    """

    images: str
    labels: str
    spelling: str


def load_npz(
    path: str | os.PathLike[str],
    resize: Size = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    resize_mode: ResizeMode = "pad",
    report: Callable[[str], None] | None = None,
) -> LabelledSplits:
    """Load arrays from an `.npz` file, without unpickling.

    The file holds either `images` and `labels`, or `train_images` and `train_labels` and optionally the same of
    `validation` and `test`. Names such as `x_train` and `y_train`, and other spellings of a split (see
    `common.data.own_images.spellings`), are understood as well. Other arrays are ignored, but those that seem to belong
    to a split without images and labels are refused.

    Images are uint8 `[N, h, w]` or `[N, h, w, C]` with C from 1 to 4; labels are integers `[N]` or `[N, 1]`, and
    those of training are 0..classes-1 with none missing. Classes are named by their numbers.

    Args:
        path: the file.
        resize: as in `load_folder`.
        grayscale: True for one channel and False for three, from images with either; None to keep the channels.
        validation_fraction: as in `load_folder`.
        test_fraction: as in `load_folder`.
        split_seed: as in `load_folder`.
        resize_mode: as in `load_folder`.
        report: as in `load_folder`.

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the file, if it is not a readable `.npz` file, an array is missing, comes twice or has a
            wrong type, shape or value, the arrays need more memory than there is, or a class has too few images to
            split.
    """
    size = check_size(resize)
    file = Path(path)
    names = _find_names(file)
    missing_fractions(names, validation_fraction, test_fraction)  # Before any image is read.
    _check_headers(file, names, size)
    sources = _read_sources(file, names)
    num_classes = _count_classes(file, sources)
    sources = {split: Source(images, labels.astype(np.int32)) for split, (images, labels) in sources.items()}
    stored = np.asarray(sources["train"].images)
    sources = {split: _convert(file, source, size, grayscale, resize_mode) for split, source in sources.items()}
    class_names = tuple(str(label) for label in range(num_classes))
    sources = complete_splits(
        sources, lambda i: stored[i].tobytes(), class_names, file, validation_fraction, test_fraction, split_seed
    )
    loaded = LabelledSplits(sources, class_names)
    if report is not None:
        report(describe_images(file, loaded, {split: each.spelling for split, each in names.items()}))
    return loaded


def _find_names(file: Path) -> dict[str, _Names]:
    """Return the names of the arrays of each split, from the names in the file alone."""
    unreadable = f"{str(file)!r} is not a readable .npz file; data {EXPECTED_DATA}"
    check_regular(file, unreadable)
    with reading(unreadable), zipfile.ZipFile(file) as archive:
        members = archive.namelist()
    names = sorted(name.removesuffix(".npy") for name in members if name.endswith(".npy"))
    if members and not names:
        raise ValueError(f"{str(file)!r} holds no arrays but {list_names(members)}: extract it; data {EXPECTED_DATA}")
    arrays: dict[str, dict[str, str]] = {}
    for name in names:
        split, kind, _ = _parse(name)
        if split is None or kind is None:
            continue
        twin = arrays.setdefault(split, {}).setdefault(kind, name)
        if twin != name or names.count(name) > 1:
            raise ValueError(f"{str(file)!r} holds the arrays {twin} and {name}, which mean the same: keep one")
    plain = arrays.pop("", None)
    splits = arrays if plain is None else {"train": plain}
    if (plain and arrays) or "train" not in splits or any(len(pair) < 2 for pair in splits.values()):
        raise ValueError(f"{str(file)!r} holds the arrays {list_names(names)}: {_EXPECTED}")
    for name in names:
        if _is_stray(name, splits):
            raise ValueError(
                f"{str(file)!r} holds the array {list_names([name])}, which seems to be of a split: {_EXPECTED}"
            )
    return {split: _Names(pair["images"], pair["labels"], _parse(pair["images"])[2]) for split, pair in splits.items()}


def _parse(name: str) -> tuple[str | None, str | None, str]:
    """Return the split and the kind that the name of an array stands for, and the spelling of the split.

    The split is "" for arrays without splits; split and kind are None for names that stand for nothing.
    """
    if name.lower() in ("images", "labels"):
        return "", name.lower(), "train"
    words = name.split("_")
    for spelling, kind in (words, words[::-1]) if len(words) == 2 else ():
        if split_of(spelling) and kind.lower() in _KINDS:
            return split_of(spelling), _KINDS[kind.lower()], spelling
    return None, None, ""


def _is_stray(name: str, splits: Mapping[str, object]) -> bool:
    """Return True for an array that seems to be of a split which is not among those of the file."""
    words = re.split("[^a-z]+", name.lower())
    missing = {split_of(word) for word in words} - {None, *splits}
    return bool(missing) or (any(word in _KINDS for word in words) and any(map(is_mistyped, words)))


def _check_headers(file: Path, names: Mapping[str, _Names], size: tuple[int, int] | None) -> None:
    """Check by their headers that the arrays are complete, and fit into memory beside what is made of them."""
    needed = 0
    with reading(f"{str(file)!r} cannot be read"), zipfile.ZipFile(file) as archive:
        for name in (array for split in names.values() for array in (split.images, split.labels)):
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as stream:
                is_first = np.lib.format.read_magic(stream) == (1, 0)
                read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
                stored = math.prod(shape) * dtype.itemsize
                if stream.tell() + stored != member.file_size and not dtype.hasobject:
                    raise ValueError(f"{name} of shape {shape} has {member.file_size} bytes")
            # Drawing a missing split copies the images, and resized images are new ones.
            is_resized = size is not None and len(shape) > 2
            needed += stored + (math.prod((*shape[:1], *(size or ()), *shape[3:])) if is_resized else stored)
    check_memory(file, needed)


def _read_sources(file: Path, names: Mapping[str, _Names]) -> dict[str, Source]:
    """Read images uint8 `[N, h, w, C]` and integer labels `[N]` of each split."""
    with reading(f"{str(file)!r} cannot be read"), np.load(file, allow_pickle=False) as loaded:
        arrays = {name: loaded[f"{name}.npy"] for split in names.values() for name in (split.images, split.labels)}
    sources = {}
    for split, each in names.items():
        images, labels = arrays[each.images], arrays[each.labels]
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        shape = (*images.shape, 1) if images.ndim == 3 else images.shape
        if images.dtype != np.uint8 or len(shape) != 4 or min(shape) < 1 or shape[3] > 4:
            raise ValueError(
                f"{str(file)!r}: {each.images} are {images.dtype} of shape {images.shape}; expected uint8 "
                f"[N, h, w] or [N, h, w, C] with no axis empty and C at most 4{describe_conversion(images)}"
            )
        check_levels(f"{str(file)!r}: {each.images}", images)
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != shape[:1]:
            raise ValueError(
                f"{str(file)!r}: {each.labels} are {labels.dtype} of shape {labels.shape}; expected integers of shape "
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
