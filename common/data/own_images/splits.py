"""What the loaders of own images share: their result, the resize option, the choice of missing splits."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from common.data.source import SPLITS, Source

Resize = tuple[int, int] | int | None

# Sides of own images in pixels, at most: larger ones fill the memory, after minutes of reading.
MOST_RESIZE = 2048
# What own images may be, for messages: "data ...".
EXPECTED_DATA = "must be a folder with a subfolder for each class, or a .npz file"


class OwnImages(NamedTuple):
    """Images with their splits.

    Attributes:
        sources: the keys `train`, `validation` and `test`; each holds NumPy arrays, images uint8 `[N, h, w,
            C]` and labels int32 `[N]`, with the same h, w and C.
        class_names: the name of each label.
    """

    sources: dict[str, Source]
    class_names: tuple[str, ...]


def check_resize(resize: Resize, most: int | None = MOST_RESIZE) -> tuple[int, int] | None:
    """Checks an option.

    Args:
        resize: rows and columns in pixels, or one number for both, or None.
        most: the largest number of either; None for any.

    Returns:
        The size as (rows, columns), or None.

    Raises:
        ValueError: if the option is anything else.
    """
    if resize is None:
        return None
    size = (resize, resize) if isinstance(resize, int) else tuple(resize)
    if len(size) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in size):
        raise ValueError(f"resize is {resize!r}; allowed: a positive number of pixels, (rows, columns), or None")
    if most is not None and max(size) > most:
        raise ValueError(f"resize is {resize!r}; at most {most} pixels a side are allowed")
    return size


def missing_shares(
    present: Iterable[str], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, float]:
    """The share of each split that is not among the `present` ones; needs no images.

    Raises:
        ValueError: if a share is not between 0 and 1, both add up to 1, or the seed is negative.
    """
    missing = {"validation": validation_fraction, "test": test_fraction}
    for split in present:
        missing.pop(split, None)
    for split, share in missing.items():
        if not 0 < share < 1:
            raise ValueError(f"{split}_fraction is {share}; allowed: more than 0 and less than 1")
    if sum(missing.values()) >= 1:
        raise ValueError(
            f"validation_fraction and test_fraction add up to {sum(missing.values())}; less than 1 is allowed"
        )
    if seed < 0:
        raise ValueError(f"split_seed is {seed}; it must not be negative")
    return missing


def complete_splits(
    sources: Mapping[str, Source],
    content: Callable[[int], bytes],
    class_names: tuple[str, ...],
    path: Path,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, Source]:
    """Takes the splits that are missing from `train`, class by class, keeping the order of the images.

    The images of a class are ranked by a digest of the seed and of their content. The first are validation, the last
    test, so one image more or less moves at most a few others, and never one from validation to test or back.
    Identical images of a class lie beside each other. Where the border of a split would part them, all stay in `train`,
    unless the split would be empty. Those that two classes share may well be in two splits.

    Args:
        sources: `train`, and `validation` and `test` where they exist.
        content: the bytes that training image i is known by, before it is resized or turned gray; called only where a
            split is missing.
        class_names: the name of each label.
        path: where the images come from, for messages.
        validation_fraction: share of each class, at least one image, taken if there is no `validation`.
        test_fraction: the same for `test`.
        seed: seed of the choice.

    Returns:
        `train`, `validation` and `test`, NumPy arrays.

    Raises:
        ValueError: as `missing_shares`, or if no image of a class would be left for training.
    """
    missing = missing_shares(sources, validation_fraction, test_fraction, seed)
    if not missing:
        return {split: Source(*map(np.asarray, sources[split])) for split in SPLITS}
    train = Source(np.asarray(sources["train"].images), np.asarray(sources["train"].labels))
    digests = np.array([_digest(seed, content(i)) for i in range(len(train.labels))])
    chosen: dict[str, list[np.ndarray]] = {split: [] for split in ("train", *missing)}
    for label, name in enumerate(class_names):
        members = np.flatnonzero(train.labels == label)
        takes = {split: _take(share, len(members)) for split, share in missing.items()}
        if sum(takes.values()) >= len(members):
            raise ValueError(_too_few(name, path, len(members), missing))
        ranked = members[np.argsort(digests[members], kind="stable")]
        first = _border(digests[ranked], takes.get("validation", 0))
        last = len(ranked) - _border(digests[ranked[::-1]], takes.get("test", 0))
        divided = {"validation": ranked[:first], "train": ranked[first:last], "test": ranked[last:]}
        for split, parts in chosen.items():
            parts.append(divided[split])
    complete = {split: source for split, source in sources.items() if split != "train"}
    for split, parts in chosen.items():
        where = np.sort(np.concatenate(parts))
        complete[split] = Source(train.images[where], train.labels[where])
    return {split: complete[split] for split in SPLITS}


def _take(share: float, count: int) -> int:
    """How many of the `count` images of a class a split takes."""
    return max(1, round(share * count))


def _digest(seed: int, content: bytes) -> str:
    """What an image is ranked by."""
    sha = hashlib.sha256(b"%d " % seed)
    sha.update(content)
    return sha.hexdigest()


def _border(digests: Shaped[np.ndarray, " N"], take: int) -> int:
    """How many ranked images a split gets that is to take the first `take`: not some of those that are alike."""
    return int(np.flatnonzero(digests == digests[take])[0]) or take


def _too_few(name: str, path: Path, count: int, missing: Mapping[str, float]) -> str:
    """Why a class cannot be split, and how many images would do."""
    needed = count + 1
    while sum(_take(share, needed) for share in missing.values()) >= needed:
        needed += 1
    have = "1 image" if count == 1 else f"{count} images"
    splits = " and ".join(missing)
    return (
        f"class {name!r} of {str(path)!r} has {have} to split; it needs at least {needed}, so that one is left for "
        f"training when {splits} {'has its share' if len(missing) == 1 else 'have their shares'} "
        f"({', '.join(f'{split}_fraction {share}' for split, share in missing.items())})"
    )
