"""One line about what was loaded."""

from collections.abc import Mapping
from pathlib import Path

from common.data.source import SPLITS, LabelledSplits


def describe_images(path: Path, loaded: LabelledSplits, spellings: Mapping[str, str]) -> str:
    """Return one line: the number of classes, the images of each split and where they come from, and their shape.

    Args:
        path: where the images come from.
        loaded: the images.
        spellings: the name under which each split was stored; the others were drawn from `train`.
    """
    counts = []
    for split in SPLITS:
        origin = spellings.get(split, "train")
        counts.append(f"{split} {len(loaded.sources[split].labels)}{f' (from {origin})' * (origin != split)}")
    shape = "x".join(map(str, loaded.sources["train"].images.shape[1:]))
    return f"images: {str(path)!r} has {len(loaded.class_names)} classes; {', '.join(counts)}; {shape}"
