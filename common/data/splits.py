"""What the loaders of own images share: their result, the resize option, the choice of missing splits."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.source import SPLITS, Source

Resize = tuple[int, int] | int | None

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


def check_resize(resize: Resize) -> tuple[int, int] | None:
    """The size as (rows, columns), or None; a `ValueError` that quotes anything else."""
    if resize is None:
        return None
    size = (resize, resize) if isinstance(resize, int) else tuple(resize)
    if len(size) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in size):
        raise ValueError(f"resize is {resize!r}; allowed: a positive number of pixels, (rows, columns), or None")
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
    class_names: tuple[str, ...],
    path: Path,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, Source]:
    """Takes the splits that are missing from `train`, class by class, keeping the order of the images.

    Args:
        sources: `train`, and `validation` and `test` where they exist.
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
    train = Source(np.asarray(sources["train"].images), np.asarray(sources["train"].labels))
    chosen: dict[str, list[np.ndarray]] = {split: [] for split in ("train", *missing)}
    for label, name in enumerate(class_names):
        members = np.flatnonzero(train.labels == label)
        takes = {split: _take(share, len(members)) for split, share in missing.items()}
        if sum(takes.values()) >= len(members):
            raise ValueError(_too_few(name, path, len(members), missing))
        # Raw words of a bit generator stay the same in all versions of NumPy; permutations need not.
        order = members[np.argsort(np.random.PCG64([seed, label]).random_raw(len(members)), kind="stable")]
        start = 0
        for split, take in takes.items():
            chosen[split].append(order[start : start + take])
            start += take
        chosen["train"].append(order[start:])
    complete = {split: source for split, source in sources.items() if split != "train"}
    for split, parts in chosen.items():
        where = np.sort(np.concatenate(parts))
        complete[split] = Source(train.images[where], train.labels[where])
    return {split: complete[split] for split in SPLITS}


def _take(share: float, count: int) -> int:
    """How many of the `count` images of a class a split takes."""
    return max(1, round(share * count))


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
