"""Your own images, from a folder or an `.npz` file.

Both may come with their splits. A missing validation or test split is taken from the training images of each class. The
choice depends only on the seed and on the stored images: names, order, `resize` and `grayscale` do not matter, and
adding or removing one image moves at most a few others.
"""

import os
from collections.abc import Callable
from pathlib import Path

from common.data.own_images.arrays import load_npz
from common.data.own_images.folder import load_folder
from common.data.own_images.resizing import ResizeMode, Size
from common.data.own_images.splits import EXPECTED_DATA
from common.data.source import LabelledSplits

__all__ = ["EXPECTED_DATA", "load_folder", "load_npz", "load_own_images"]


def load_own_images(
    path: str | os.PathLike[str],
    resize: Size = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    resize_mode: ResizeMode = "pad",
    report: Callable[[str], None] | None = None,
) -> LabelledSplits:
    """Load a folder with `load_folder`, or an `.npz` file with `load_npz`; both take these arguments.

    Raises:
        ValueError: the path does not exist, its content is malformed, or an option is out of range.
    """
    if not os.fspath(path) or not Path(path).exists():
        raise ValueError(f"no folder and no file at {os.fspath(path)!r}; data {EXPECTED_DATA}")
    load = load_folder if Path(path).is_dir() else load_npz
    loaded = load(path, resize, grayscale, validation_fraction, test_fraction, split_seed, resize_mode, report)
    if len(loaded.class_names) < 2:
        raise ValueError(f"{os.fspath(path)!r} has the one class {loaded.class_names[0]!r}: must have two or more")
    return loaded
