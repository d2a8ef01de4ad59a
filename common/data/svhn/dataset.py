"""SVHN's full numbers as a data set: crops around the number, and the usual splits.

Pictures are cropped as by Goodfellow et al., "Multi-digit Number Recognition from Street View Imagery using Deep
Convolutional Neural Networks" (2014), section 5.1: the bounding box of all digits is enlarged by 30% in width and
height and resized to a square. Outside the picture, its edge is repeated. Validation is 5,000 numbers drawn from train
and extra together, as in Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with Visual Attention" (2014), section
4.3.
"""

import functools
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from common.data.array_cache import make_folder, read_arrays, write_arrays
from common.data.house_numbers.pool import END, Progress
from common.data.house_numbers.renderer import MAX_DIGITS
from common.data.source import SPLITS, Source
from common.data.svhn.cache import cache_path, load_records
from common.data.svhn.files import ADDRESS, Part, describe_skipped, find_part
from common.data.svhn.records import Record

NUM_VALIDATION = 5_000


@dataclass(frozen=True)
class SvhnConfig:
    """The settings of the crops.

    Attributes:
        size: rows and columns of an image in pixels.
        growth: side of an image relative to the bounding box of the number.
        grayscale: one channel instead of RGB.
        num_symbols: length S of a label: 6 for five digits and an end symbol, or 5 without.
    """

    size: int = 64
    growth: float = 1.3
    grayscale: bool = False
    num_symbols: int = MAX_DIGITS + 1


def load_svhn(
    folder: str | os.PathLike[str],
    config: SvhnConfig = SvhnConfig(),
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    num_validation: int = NUM_VALIDATION,
    seed: int = 0,
    train: bool = True,
) -> dict[str, Source]:
    """Load SVHN from the folder that holds `train.tar.gz`, `test.tar.gz` and optionally `extra.tar.gz`.

    Each may also be the folder that it unpacks to. Numbers of more than five digits, invalid records and unreadable
    pictures are skipped and counted in a warning, each time they are loaded. A missing `extra.tar.gz` is a warning too.

    Args:
        folder: the user's folder.
        config: the settings of the crops.
        cache_dir: the folder that keeps crops and records; None to keep none.
        progress: called with the split, the number of images read so far, and the number of all; before that with
            `train records` and so on, and the same counts of records.
        num_validation: numbers drawn from train and extra together, at most a tenth of them. They are drawn by part and
            file name before any picture is read, so they are the same for all crops; if a picture turns out to be
            unreadable, its split has one number less.
        seed: seed of that choice.
        train: False if the training images are not needed: `train` then holds one black image, and their pictures are
            not read.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`, the
        digits in reading order, then end symbols, 10.

    Raises:
        ValueError: a file is missing, damaged, or has another format, or no usable number is left.
    """
    present = {name: find_part(folder, name) for name in ("train", "extra", "test")}
    for name in ("train", "test"):
        if present[name] is None:
            raise ValueError(f"data {os.fspath(folder)!r} (--data) holds no {name}.tar.gz: download it from {ADDRESS}")
    if present["extra"] is None:
        warnings.warn(
            f"{os.fspath(folder)!r} holds no extra.tar.gz, so train and validation have 33,402 numbers of SVHN instead "
            f"of 235,755: download it from {ADDRESS}",
            stacklevel=2,
        )
    parts = [part for part in present.values() if part is not None]
    return load_parts(parts, config, cache_dir, progress, num_validation, seed, train)


def load_parts(
    parts: Sequence[Part],
    config: SvhnConfig,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    num_validation: int = NUM_VALIDATION,
    seed: int = 0,
    train: bool = True,
) -> dict[str, Source]:
    """Load SVHN from given parts: train, optionally extra, and test; otherwise as `load_svhn`.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: see `load_svhn`.
    """
    contents = [_read_content(part, cache_dir, progress) for part in parts]
    pool = [content for content in contents if content.part.name != "test"]
    names = [name for content in pool for name in content.names]
    chosen = choose_validation(names, min(num_validation, len(names) // 10) or 1, seed)
    contents_of = {
        "train": [content.only(set(content.names) - chosen) for content in pool],
        "validation": [content.only(chosen) for content in pool],
        "test": [content for content in contents if content.part.name == "test"],
    }
    sources = {
        split: _load_split(split, contents_of[split], config, cache_dir, progress)
        for split in SPLITS
        if train or split != "train"
    }
    if not train:
        images, labels = sources["test"]
        sources["train"] = Source(np.zeros_like(images[:1]), np.full_like(labels[:1], END))
    for content in contents:
        _warn_skipped(content)
    return sources


def choose_validation(names: Sequence[str], count: int, seed: int) -> set[str]:
    """Choose names by a digest of the seed and the name, so that the choice hardly depends on the other names.

    Args:
        names: names of numbers, all different.
        count: number of names to choose.
        seed: seed of the choice.

    Returns:
        The chosen names.
    """
    return set(sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count])


def load_part(
    part: Part,
    config: SvhnConfig,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Source:
    """Load all numbers of one part, in the order of its records; the arguments are those of `load_svhn`.

    Returns:
        NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: the part is damaged or has another format, or holds no usable number.
        OSError: the cache folder cannot be written.
    """
    content = _read_content(part, cache_dir, progress)
    source = _load_split(part.name, [content], config, cache_dir, progress)
    _warn_skipped(content)
    return source


class _Content(NamedTuple):
    """Some numbers of a part.

    Attributes:
        part: the part.
        records: the records of these numbers.
        skipped: counts of invalid records, by what is wrong with them.
        lost: counts of records whose pictures turned out to be unusable.
    """

    part: Part
    records: list[Record]
    skipped: Counter[str]
    lost: Counter[str]

    @property
    def names(self) -> list[str]:
        """Return the names of the records, unique among all parts."""
        return [f"{self.part.name}/{record.name}" for record in self.records]

    def only(self, names: Set[str]) -> "_Content":
        """Return the numbers of these names; the counters stay shared."""
        records = [record for record, name in zip(self.records, self.names, strict=True) if name in names]
        return self._replace(records=records)


def _read_content(part: Part, cache_dir: str | os.PathLike[str] | None, progress: Progress | None) -> _Content:
    """Read the usable records of a part."""
    skipped: Counter[str] = Counter()
    report = None if progress is None else functools.partial(progress, f"{part.name} records")
    records: dict[str, Record] = {}
    for record in load_records(part, skipped, cache_dir, report):
        if len(record.digits) > MAX_DIGITS:
            skipped[f"more than {MAX_DIGITS} digits"] += 1
        elif record.name in records:
            skipped["a repeated name"] += 1
        else:
            records[record.name] = record
    return _Content(part, list(records.values()), skipped, Counter())


def _load_split(
    split: str,
    contents: Sequence[_Content],
    config: SvhnConfig,
    cache_dir: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Source:
    """Load the crops of some numbers, from the cache where possible; count unusable pictures in `lost`."""
    path = None
    if cache_dir is not None:
        names = [content.names for content in contents]
        stem, parts = f"svhn-{split}-{config.size}px", [content.part for content in contents]
        path = cache_path(cache_dir, stem, parts, [asdict(config), names])
    arrays = None if path is None else read_arrays(path)
    if arrays is None:
        if path is not None:
            make_folder(path.parent)  # Fail before the pictures are read.
        arrays = _make_split(split, contents, config, progress)
        if path is not None:
            write_arrays(path, arrays)
    for content, lost in zip(contents, json.loads(str(arrays["lost"])), strict=True):
        content.lost.update(lost)
    return Source(arrays["images"], arrays["labels"])


def _make_split(
    split: str, contents: Sequence[_Content], config: SvhnConfig, progress: Progress | None
) -> dict[str, np.ndarray]:
    """Crop some numbers: `images`, `labels`, and as JSON what is `lost` of each content."""
    count = sum(len(content.records) for content in contents)
    images = np.empty((count, config.size, config.size, 1 if config.grayscale else 3), np.uint8)
    labels = np.full((count, config.num_symbols), END, np.int32)
    filled = np.zeros(count, bool)
    every_lost: list[Counter[str]] = []
    start = done = 0
    for content in contents:
        indices = {record.name: start + i for i, record in enumerate(content.records)}
        every_lost.append(Counter())
        for record, crop in _crops(content.part, content.records, config, every_lost[-1]):
            index = indices[record.name]
            images[index] = crop
            labels[index, : len(record.digits)] = record.digits
            filled[index] = True
            done += 1
            if progress is not None and (done % 100 == 0 or done == count):
                progress(split, done, count)
        start += len(indices)
    kept = np.flatnonzero(filled)
    if not len(kept):
        where = " with ".join(repr(str(content.part.path)) for content in contents)
        skipped = sum((content.skipped for content in contents), sum(every_lost, Counter[str]()))
        raise ValueError(f"{where} holds no usable number{describe_skipped(skipped)}")
    if len(kept) < count:  # In place, because a copy of all images may not fit in memory.
        for target, origin in enumerate(kept):
            images[target], labels[target] = images[origin], labels[origin]
        images, labels = images[: len(kept)], labels[: len(kept)]
    return {"images": images, "labels": labels, "lost": np.array(json.dumps(every_lost))}


def _warn_skipped(content: _Content) -> None:
    """Warn about the skipped records of a part, if there are any."""
    skipped = describe_skipped(content.skipped + content.lost)
    if skipped:
        count = len(content.records) - content.lost.total()
        warnings.warn(f"{str(content.part.path)!r} gives {count:,} numbers{skipped}", stacklevel=3)


def _crops(
    part: Part, records: list[Record], config: SvhnConfig, skipped: Counter[str]
) -> Iterator[tuple[Record, np.ndarray]]:
    for record, picture in part.pictures(records, skipped):
        box = grown_box(record.boxes, picture.size, config.growth)
        if box is None:
            skipped["a box outside its picture"] += 1
        else:
            crop = np.asarray(crop_number(picture, box, config.size).convert("L" if config.grayscale else "RGB"))
            yield record, crop[..., None] if config.grayscale else crop


def grown_box(
    boxes: Float[np.ndarray, "S 4"], size: tuple[int, int], growth: float
) -> tuple[float, float, float, float] | None:
    """Return the bounding box of all digits, enlarged about its centre.

    Args:
        boxes: left, top, right, bottom of each digit in pixels.
        size: width and height of the picture in pixels; boxes are clipped to it first.
        growth: factor of its width and height.

    Returns:
        Left, top, right, bottom, possibly outside the picture; None if a digit lies outside the picture.
    """
    inside = np.clip(boxes.astype(np.float64), 0, np.tile(size, 2))
    if (inside[:, 2:] <= inside[:, :2]).any():
        return None
    first, last = inside[:, :2].min(axis=0), inside[:, 2:].max(axis=0)
    middle, half = (first + last) / 2, growth * (last - first) / 2
    (left, top), (right, bottom) = (middle - half).tolist(), (middle + half).tolist()
    return left, top, right, bottom


def crop_number(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Image.Image:
    """Crop a box of a picture and resize it to a square; outside the picture its edge is repeated.

    Args:
        picture: mode RGB.
        box: left, top, right, bottom in pixels.
        size: rows and columns of the result in pixels.

    Returns:
        A picture of `size` by `size` pixels, mode RGB.
    """
    left, top, right, bottom = box
    # Crop first: a small number needs only a small part of a large picture.
    x, y = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    columns, rows = int(np.ceil(right)) + 1 - x, int(np.ceil(bottom)) + 1 - y
    inside = max(x, 0), max(y, 0), min(x + columns, picture.width), min(y + rows, picture.height)
    cut = np.asarray(picture.crop(inside))
    edges = ((inside[1] - y, y + rows - inside[3]), (inside[0] - x, x + columns - inside[2]), (0, 0))
    padded = Image.fromarray(np.pad(cut, edges, mode="edge"))
    return padded.resize((size, size), Image.Resampling.BILINEAR, box=(left - x, top - y, right - x, bottom - y))
