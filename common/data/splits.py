"""What the loaders of own images share: their result, the resize option, the choice of missing splits."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.source import SPLITS, Source

Resize = tuple[int, int] | int | None


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
        ValueError: if a share is not between 0 and 1, both add up to 1, the seed is negative, or no image of
            a class would be left for training.
    """
    missing = {"validation": validation_fraction, "test": test_fraction}
    missing = {split: share for split, share in missing.items() if split not in sources}
    for split, share in missing.items():
        if not 0 < share < 1:
            raise ValueError(f"{split}_fraction is {share}; allowed: more than 0 and less than 1")
    if sum(missing.values()) >= 1:
        raise ValueError(
            f"validation_fraction and test_fraction add up to {sum(missing.values())}; less than 1 is allowed"
        )
    if seed < 0:
        raise ValueError(f"split_seed is {seed}; it must not be negative")
    train = Source(np.asarray(sources["train"].images), np.asarray(sources["train"].labels))
    chosen: dict[str, list[np.ndarray]] = {split: [] for split in ("train", *missing)}
    for label, name in enumerate(class_names):
        members = np.flatnonzero(train.labels == label)
        takes = {split: max(1, round(share * len(members))) for split, share in missing.items()}
        if sum(takes.values()) >= len(members):
            raise ValueError(
                f"class {name!r} of {str(path)!r} has {len(members)} training images, too few to split: "
                f"{takes} would leave none for training"
            )
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
