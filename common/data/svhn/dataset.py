"""SVHN's full numbers as a data set: crops around the number, and the usual splits.

Pictures are cropped as Goodfellow et al., "Multi-digit Number Recognition from Street View Imagery using Deep
Convolutional Neural Networks" (2014), section 5.1, crop them: the box around all digits grows by 30% in width and in
height and is resized, whatever its shape, to a square. What lies outside the picture repeats its edge. Validation is
5,000 numbers drawn from train and extra together, as in Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with
Visual Attention" (2014), section 4.3.
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
from common.data.svhn.files import ADDRESS, Part, Record, describe_skipped, find_part

NUM_VALIDATION = 5_000


@dataclass(frozen=True)
class SvhnConfig:
    """How numbers are cropped.

    Attributes:
        size: rows and columns of an image in pixels.
        growth: its sides relative to those of the box around the number.
        grayscale: one channel instead of RGB.
        num_symbols: length S of a label: 6 for five digits and an end symbol, or 5 without.

    Raises:
        ValueError: if a number is out of range.
    """

    size: int = 64
    growth: float = 1.3
    grayscale: bool = False
    num_symbols: int = MAX_DIGITS + 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size of SVHN's numbers is {self.size}; it must be at least 1 pixel")
        if not 1 <= self.growth <= 4:
            raise ValueError(f"growth of SVHN's numbers is {self.growth}; allowed: 1 to 4")


def load_svhn(
    folder: str | os.PathLike[str],
    config: SvhnConfig = SvhnConfig(),
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    num_validation: int = NUM_VALIDATION,
    seed: int = 0,
    train: bool = True,
) -> dict[str, Source]:
    """Loads SVHN from the folder that holds `train.tar.gz`, `test.tar.gz` and, if wanted, `extra.tar.gz`.

    Each may also be the folder that it unpacks to. Numbers of more than five digits, and records that make no sense or
    whose picture cannot be read, are left out and counted in a warning, whenever they are loaded. Another one says that
    there is no `extra.tar.gz`.

    Args:
        folder: the user's folder.
        config: how numbers are cropped.
        cache_dir: where crops and records are kept for the next time; None for nowhere.
        progress: called with the split, the numbers read so far, and all of them; before that with `train records` and
            so on, the records of a part looked at so far, and all of them.
        num_validation: numbers drawn from train and extra together; a tenth of them where they are fewer than ten
            times as many. They are drawn by part and file name, the same for all crops, before any picture is read:
            where a picture turns out to be of no use, its split has one number less.
        seed: seed of that choice.
        train: whether the training images are needed; else a black one stands in for them, and of their pictures none
            is read.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`, the
        digits in the order of reading, then end symbols, 10.

    Raises:
        ValueError: if a file is missing, damaged, or of another format, or no number is left.
    """
    found = {name: find_part(folder, name) for name in ("train", "extra", "test")}
    for name in ("train", "test"):
        if found[name] is None:
            raise ValueError(f"{os.fspath(folder)!r} holds no {name}.tar.gz; get it from {ADDRESS}")
    if found["extra"] is None:
        warnings.warn(
            f"{os.fspath(folder)!r} holds no extra.tar.gz, so train and validation share SVHN's 33,402 numbers instead "
            f"of 235,755; get it from {ADDRESS}",
            stacklevel=2,
        )
    parts = [part for part in found.values() if part is not None]
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
    """As `load_svhn`, from parts that lie anywhere: train, perhaps extra, and test.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: see `load_svhn`.
    """
    contents = [_read_content(part, cache_dir, progress) for part in parts]
    pool = [content for content in contents if content.part.name != "test"]
    names = [name for content in pool for name in content.names]
    if len(names) < 2:
        raise ValueError(f"SVHN has {len(names)} number to train on; at least 2 are needed")
    chosen = choose_validation(names, min(num_validation, len(names) // 10) or 1, seed)
    shares = {
        "train": [content.only(set(content.names) - chosen) for content in pool],
        "validation": [content.only(chosen) for content in pool],
        "test": [content for content in contents if content.part.name == "test"],
    }
    sources = {
        split: _load_split(split, shares[split], config, cache_dir, progress)
        for split in SPLITS
        if train or split != "train"
    }
    if not train:
        images, labels = sources["test"]
        sources["train"] = Source(np.zeros_like(images[:1]), np.full_like(labels[:1], END))
    for content in contents:
        _tell_skipped(content)
    return sources


def choose_validation(names: Sequence[str], take: int, seed: int) -> set[str]:
    """Chooses by a digest of the seed and the name, so that the choice hardly depends on what other names there are.

    Args:
        names: names of numbers, all different.
        take: how many of them to choose.
        seed: seed of the choice.

    Returns:
        The names that are chosen.
    """
    return set(sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:take])


def load_part(
    part: Part,
    config: SvhnConfig,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Source:
    """All numbers of one part, in the order of its records; the arguments are those of `load_svhn`.

    Returns:
        NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: if the part is damaged or of another format, or holds no number that can be used.
        OSError: if the folder of the cache cannot be written.
    """
    content = _read_content(part, cache_dir, progress)
    source = _load_split(part.name, [content], config, cache_dir, progress)
    _tell_skipped(content)
    return source


class _Content(NamedTuple):
    """Numbers of a part.

    Attributes:
        part: the part.
        records: those of its numbers that are wanted.
        skipped: what its other records lack.
        lost: what wanted records are found to lack once their pictures are read.
    """

    part: Part
    records: list[Record]
    skipped: Counter[str]
    lost: Counter[str]

    @property
    def names(self) -> list[str]:
        """What the records are known by among those of all parts."""
        return [f"{self.part.name}/{record.name}" for record in self.records]

    def only(self, names: Set[str]) -> "_Content":
        """The numbers of these names; what they lack is counted together with what the others lack."""
        records = [record for record, name in zip(self.records, self.names, strict=True) if name in names]
        return self._replace(records=records)


def _read_content(part: Part, cache_dir: str | os.PathLike[str] | None, progress: Progress | None) -> _Content:
    """All numbers of a part that its records alone do not rule out."""
    skipped: Counter[str] = Counter()
    report = None if progress is None else functools.partial(progress, f"{part.name} records")
    records: dict[str, Record] = {}
    for record in load_records(part, skipped, cache_dir, report):
        if len(record.digits) > MAX_DIGITS:
            skipped[f"more than {MAX_DIGITS} digits"] += 1
        elif record.name in records:
            skipped["a name that another has"] += 1
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
    """The crops of some numbers, from the cache where they are there; what they lack is counted in `lost`."""
    path = None
    if cache_dir is not None:
        names = [content.names for content in contents]
        stem, parts = f"svhn-{split}-{config.size}px", [content.part for content in contents]
        path = cache_path(cache_dir, stem, parts, [asdict(config), names])
    arrays = None if path is None else read_arrays(path)
    if arrays is None:
        if path is not None:
            make_folder(path.parent)  # Before the work, which would be lost.
        arrays = _make_split(split, contents, config, progress)
        if path is not None:
            write_arrays(path, arrays)
    for content, lost in zip(contents, json.loads(str(arrays["lost"])), strict=True):
        content.lost.update(lost)
    return Source(arrays["images"], arrays["labels"])


def _make_split(
    split: str, contents: Sequence[_Content], config: SvhnConfig, progress: Progress | None
) -> dict[str, np.ndarray]:
    """The crops of some numbers: `images`, `labels`, and as JSON what is `lost` of each content."""
    count = sum(len(content.records) for content in contents)
    images = np.empty((count, config.size, config.size, 1 if config.grayscale else 3), np.uint8)
    labels = np.full((count, config.num_symbols), END, np.int32)
    filled = np.zeros(count, bool)
    every_lost: list[Counter[str]] = []
    start = done = 0
    for content in contents:
        places = {record.name: start + i for i, record in enumerate(content.records)}
        every_lost.append(Counter())
        for record, crop in _crops(content.part, content.records, config, every_lost[-1]):
            place = places[record.name]
            images[place] = crop
            labels[place, : len(record.digits)] = record.digits
            filled[place] = True
            done += 1
            if progress is not None and (done % 100 == 0 or done == count):
                progress(split, done, count)
        start += len(places)
    kept = np.flatnonzero(filled)
    if not len(kept):
        where = " with ".join(repr(str(content.part.path)) for content in contents)
        told = sum((content.skipped for content in contents), sum(every_lost, Counter[str]()))
        raise ValueError(f"{where} holds no number that can be used{describe_skipped(told)}")
    if len(kept) < count:  # In place: there may be no room for all once more.
        for place, taken in enumerate(kept):
            images[place], labels[place] = images[taken], labels[taken]
        images, labels = images[: len(kept)], labels[: len(kept)]
    return {"images": images, "labels": labels, "lost": np.array(json.dumps(every_lost))}


def _tell_skipped(content: _Content) -> None:
    """Warns of what a part lacks, if that is anything, and that there are so many other numbers."""
    told = describe_skipped(content.skipped + content.lost)
    if told:
        count = len(content.records) - content.lost.total()
        warnings.warn(f"{str(content.part.path)!r} gives {count:,} numbers{told}", stacklevel=3)


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
    """The box around all digits, grown about its middle.

    Args:
        boxes: left, top, right, bottom of each digit in pixels.
        size: width and height of the picture in pixels; the part of a box outside of it is cut off.
        growth: how many times as wide and as high the result is.

    Returns:
        Left, top, right, bottom, perhaps outside the picture; None if a digit is.
    """
    inside = np.clip(boxes.astype(np.float64), 0, np.tile(size, 2))
    if (inside[:, 2:] <= inside[:, :2]).any():
        return None
    first, last = inside[:, :2].min(axis=0), inside[:, 2:].max(axis=0)
    middle, half = (first + last) / 2, growth * (last - first) / 2
    (left, top), (right, bottom) = (middle - half).tolist(), (middle + half).tolist()
    return left, top, right, bottom


def crop_number(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Image.Image:
    """The part of a picture in a box, resized to a square; outside the picture its edge is repeated.

    Args:
        picture: mode RGB.
        box: left, top, right, bottom in pixels.
        size: rows and columns of the result in pixels.

    Returns:
        A picture of `size` by `size` pixels, mode RGB.
    """
    left, top, right, bottom = box
    # Cut first: a small number in a large picture needs little of it.
    x, y = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    columns, rows = int(np.ceil(right)) + 1 - x, int(np.ceil(bottom)) + 1 - y
    inside = max(x, 0), max(y, 0), min(x + columns, picture.width), min(y + rows, picture.height)
    cut = np.asarray(picture.crop(inside))
    edges = ((inside[1] - y, y + rows - inside[3]), (inside[0] - x, x + columns - inside[2]), (0, 0))
    padded = Image.fromarray(np.pad(cut, edges, mode="edge"))
    return padded.resize((size, size), Image.Resampling.BILINEAR, box=(left - x, top - y, right - x, bottom - y))
