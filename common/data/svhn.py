"""SVHN's full numbers as a data set: crops around the number, and the usual splits.

Pictures are cropped as Goodfellow et al., "Multi-digit Number Recognition from Street View Imagery using Deep
Convolutional Neural Networks" (2014), section 5.1, crop them: the box around all digits grows by 30% in width and in
height and is resized, whatever its shape, to a square. What lies outside the picture repeats its edge. Validation is
5,000 numbers drawn from train and extra together, as in Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with
Visual Attention" (2014), section 4.3.
"""

import functools
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from common.data.array_cache import make_folder, read_arrays, write_arrays
from common.data.house_numbers import MAX_DIGITS
from common.data.house_pool import END, Progress
from common.data.source import Source
from common.data.svhn_cache import cache_path, load_records
from common.data.svhn_files import ADDRESS, Part, Record, describe_skipped, find_part

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
) -> dict[str, Source]:
    """Loads SVHN from the folder that holds `train.tar.gz`, `test.tar.gz` and, if wanted, `extra.tar.gz`.

    Each may also be the folder that it unpacks to. Numbers of more than five digits, and records that make no sense or
    whose picture cannot be read, are left out and counted in a warning, whenever they are loaded. Another one says that
    there is no `extra.tar.gz`.

    Args:
        folder: the user's folder.
        config: how numbers are cropped.
        cache_dir: where crops and records are kept for the next time; None for nowhere.
        progress: called with the part, the numbers read so far, and all of them; before that with `train records` and
            so on, the records looked at so far, and all of them.
        num_validation: numbers drawn from train and extra together; a tenth of them where they are fewer than ten
            times as many.
        seed: seed of that choice.

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
    return load_parts(parts, config, cache_dir, progress, num_validation, seed)


def load_parts(
    parts: Sequence[Part],
    config: SvhnConfig,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    num_validation: int = NUM_VALIDATION,
    seed: int = 0,
) -> dict[str, Source]:
    """As `load_svhn`, from parts that lie anywhere: train, perhaps extra, and test.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: see `load_svhn`.
    """
    loaded = {part.name: load_part(part, config, cache_dir, progress) for part in parts}
    test = loaded.pop("test")
    sources = list(loaded.values())
    del loaded  # `_divide` lets go of the images one part after the other.
    count = sum(len(source.labels) for source in sources)
    take = min(num_validation, count // 10) or 1
    if count < 2:
        raise ValueError(f"SVHN has {count} number to train on; at least 2 are needed")
    # Raw words of a bit generator stay the same in all versions of NumPy; permutations need not.
    order = np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
    validation, train = _divide(sources, (np.sort(order[:take]), np.sort(order[take:])))
    return {"train": train, "validation": validation, "test": test}


def _divide(sources: list[Source], chosen: Sequence[Int[np.ndarray, "_"]]) -> list[Source]:
    """Divides what lies one behind the other in several sources, without a second copy of all of it.

    Args:
        sources: what is divided; the list is emptied, so that each can be freed once it is copied.
        chosen: for each result the places, in rising order, of what it takes.

    Returns:
        A source for each of `chosen`.
    """
    results = [
        Source(*(np.empty((len(places), *array.shape[1:]), array.dtype) for array in sources[0])) for places in chosen
    ]
    start = 0
    while sources:
        source = sources.pop(0)
        for result, places in zip(results, chosen, strict=True):
            first, last = np.searchsorted(places, (start, start + len(source.labels)))
            for whole, part in zip(result, source, strict=True):
                # With its usual mode `take` would copy all once more.
                into = np.asarray(whole)[first:last]
                np.take(np.asarray(part), places[first:last] - start, axis=0, out=into, mode="clip")
        start += len(source.labels)
    return results


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
    stem = f"svhn-{part.name}-{config.size}px"
    path = None if cache_dir is None else cache_path(cache_dir, stem, [part], asdict(config))
    arrays = None if path is None else read_arrays(path)
    if arrays is not None:
        _tell_skipped(part, len(arrays["labels"]), str(arrays["skipped"]))
        return Source(arrays["images"], arrays["labels"])
    if path is not None:
        make_folder(path.parent)  # Before the work, which would be lost.
    skipped: Counter[str] = Counter()
    report = None if progress is None else functools.partial(progress, f"{part.name} records")
    records = load_records(part, skipped, cache_dir, report)
    kept = [record for record in records if len(record.digits) <= MAX_DIGITS]
    if len(kept) < len(records):
        skipped[f"more than {MAX_DIGITS} digits"] = len(records) - len(kept)
    images = np.empty((len(kept), config.size, config.size, 1 if config.grayscale else 3), np.uint8)
    labels = np.full((len(kept), config.num_symbols), END, np.int32)
    filled = np.zeros(len(kept), bool)
    places = {record.name: i for i, record in reversed(list(enumerate(kept)))}
    for done, (record, crop) in enumerate(_crops(part, kept, config, skipped), start=1):
        place = places[record.name]
        images[place] = crop
        labels[place, : len(record.digits)] = record.digits
        filled[place] = True
        if progress is not None and (done % 100 == 0 or done == len(kept)):
            progress(part.name, done, len(kept))
    told = describe_skipped(skipped)
    if not filled.any():
        raise ValueError(f"{str(part.path)!r} holds no number that can be used{told}")
    _tell_skipped(part, int(filled.sum()), told)
    if not filled.all():
        images, labels = images[filled], labels[filled]
    if path is not None:
        write_arrays(path, {"images": images, "labels": labels, "skipped": np.array(told)})
    return Source(images, labels)


def _tell_skipped(part: Part, count: int, told: str) -> None:
    """Warns of what `describe_skipped` tells, if that is anything, and that there are `count` other numbers."""
    if told:
        warnings.warn(f"{str(part.path)!r} gives {count:,} numbers{told}", stacklevel=3)


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
