"""Your own images, from a folder or an `.npz` file.

Both may come with their splits. Where the validation or the test split is missing, it is taken from the
training images of each class, by a choice that depends only on the seed and on those images as they are stored: their
names, their order, `resize` and `grayscale` do not matter, and one image more or less moves at most a few others.
"""

import os
from pathlib import Path

from common.data.own_images.arrays import load_npz
from common.data.own_images.folder import load_folder
from common.data.own_images.splits import EXPECTED_DATA, OwnImages, Resize

__all__ = ["EXPECTED_DATA", "OwnImages", "load_folder", "load_npz", "load_own_images"]


def load_own_images(
    path: str | os.PathLike[str],
    resize: Resize = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
) -> OwnImages:
    """Loads a folder with `load_folder` or an `.npz` file with `load_npz`; the arguments are theirs.

    Raises:
        ValueError: if there is neither at the path, what is there is malformed, or an option is out of range.
    """
    if not Path(path).exists():
        raise ValueError(f"no folder and no file at {os.fspath(path)!r}; data {EXPECTED_DATA}")
    load = load_folder if Path(path).is_dir() else load_npz
    return load(path, resize, grayscale, validation_fraction, test_fraction, split_seed)
