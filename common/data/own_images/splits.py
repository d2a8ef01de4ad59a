"""The choice of missing splits, by a digest of the content of each image."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from common.data.source import SPLITS, Source

# Completes messages that begin with "data ...".
EXPECTED_DATA = "must be a folder with a subfolder for each class, or a .npz file"


def missing_fractions(present: Iterable[str], validation_fraction: float, test_fraction: float) -> dict[str, float]:
    """Return the fraction of each split that is missing among the `present` ones; needs no images.

    Raises:
        ValueError: a fraction is not between 0 and 1, or they add up to 1 or more.
    """
    fractions = {"validation": validation_fraction, "test": test_fraction}
    missing = {split: fraction for split, fraction in fractions.items() if split not in set(present)}
    if not (all(fraction > 0 for fraction in missing.values()) and sum(missing.values()) < 1):
        raise ValueError(f"{_describe(missing)}: must be more than 0, and less than 1 in total")
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
    """Take the missing splits from `train`, class by class, keeping the order of the images.

    The images of a class are sorted by a digest of the seed and of their content. The first ones become validation, the
    last ones test. Adding or removing one image therefore moves at most a few others, and never from validation to test
    or back. Identical images of a class are neighbours; if the border of a split would separate them, all of them stay
    in `train`, unless the split would be empty. Identical images of two classes may be in two splits.

    Args:
        sources: `train`, and `validation` and `test` where they exist.
        content: the bytes that identify training image i, before it is resized or converted to gray; called only if a
            split is missing.
        class_names: the name of each label.
        path: where the images come from, for messages.
        validation_fraction: fraction of each class, at least one image, taken if there is no `validation`.
        test_fraction: the same for `test`.
        seed: seed of the choice.

    Returns:
        `train`, `validation` and `test`, NumPy arrays.

    Raises:
        ValueError: see `missing_fractions`; or no image of a class would be left for training.
    """
    missing = missing_fractions(sources, validation_fraction, test_fraction)
    if not missing:
        return {split: Source(*map(np.asarray, sources[split])) for split in SPLITS}
    train = Source(np.asarray(sources["train"].images), np.asarray(sources["train"].labels))
    digests = np.array([_digest(seed, content(i)) for i in range(len(train.labels))])
    chosen: dict[str, list[np.ndarray]] = {split: [] for split in ("train", *missing)}
    for label, name in enumerate(class_names):
        members = np.flatnonzero(train.labels == label)
        sizes = {split: _split_size(fraction, len(members)) for split, fraction in missing.items()}
        if sum(sizes.values()) >= len(members):
            raise ValueError(_too_few(name, path, len(members), missing))
        ranked = members[np.argsort(digests[members], kind="stable")]
        first = _border(digests[ranked], sizes.get("validation", 0))
        last = len(ranked) - _border(digests[ranked[::-1]], sizes.get("test", 0))
        divided = {"validation": ranked[:first], "train": ranked[first:last], "test": ranked[last:]}
        for split, indices in chosen.items():
            indices.append(divided[split])
    complete = {split: source for split, source in sources.items() if split != "train"}
    for split, indices in chosen.items():
        ordered = np.sort(np.concatenate(indices))
        complete[split] = Source(train.images[ordered], train.labels[ordered])
    return {split: complete[split] for split in SPLITS}


def _split_size(fraction: float, count: int) -> int:
    """Return how many of the `count` images of a class a split takes."""
    return max(1, round(fraction * count))


def _digest(seed: int, content: bytes) -> str:
    """Return the digest that an image is sorted by."""
    sha = hashlib.sha256(b"%d " % seed)
    sha.update(content)
    return sha.hexdigest()


def _border(digests: Shaped[np.ndarray, " N"], size: int) -> int:
    """Return the size of a split that should take the first `size` images, but not only some of identical ones."""
    return int(np.flatnonzero(digests == digests[size])[0]) or size


def _describe(fractions: Mapping[str, float]) -> str:
    return " and ".join(f"{split}_fraction {fraction}" for split, fraction in fractions.items())


def _too_few(name: str, path: Path, count: int, missing: Mapping[str, float]) -> str:
    """Return the message about a class that is too small to split, with the number of images that would do."""
    needed = count + 1
    while sum(_split_size(fraction, needed) for fraction in missing.values()) >= needed:
        needed += 1
    return (
        f"class {name!r} of {str(path)!r} has {count} image{'s' * (count != 1)}: at least {needed} are needed, so that "
        f"one is left for training ({_describe(missing)})"
    )
