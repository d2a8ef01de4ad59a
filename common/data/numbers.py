"""Whole numbers in the street as a data set: the pools that crops are taken from, and their labels."""

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from common.data.house_numbers.pool import NUM_SYMBOLS, PoolConfig, Progress, load_pool, render_pool
from common.data.house_numbers.renderer import LEAST_SIZE, MOST_SIZE
from common.data.own_images.splits import Resize, check_resize
from common.data.recipes.crops import Crop
from common.data.source import SPLITS, Source

SYMBOLS = (*"0123456789", "end")
# Rendered images of each split, where nothing else is asked for.
NUM_IMAGES = (60_000, 5_000, 10_000)
CACHE = "runs/data"
# Sides of SVHN's crops in pixels, at most: larger ones fill the memory, after minutes of reading.
MOST_SVHN = 512


@dataclass(frozen=True)
class Numbers:
    """Where the images of a task come from, and how large they are before a crop is taken.

    Attributes:
        svhn: whether they are SVHN's, from the user's folder, and not rendered.
        size: rows and columns of the images, in pixels, for crops of the size of the task.
        growth: their sides relative to those of the box around the number.
        test: which pool is the test split: test, or new_fonts, whose faces no other has.
        grayscale: one channel unless RGB is asked for.
        num_symbols: length S of a label.
    """

    svhn: bool = False
    size: int = 64
    growth: float = 1.3
    test: str = "test"
    grayscale: bool = False
    num_symbols: int = NUM_SYMBOLS


def fit_crop(crop: Crop, numbers: Numbers, resize: Resize) -> tuple[Crop, int]:
    """The crop of the size asked for, and the size of the images it is taken from, in proportion.

    Args:
        crop: the crop of the task, square.
        numbers: the images of the task.
        resize: rows and columns of the crop in pixels, one number or two equal ones; None for those of the task.

    Returns:
        The crop, and rows and columns of the images.

    Raises:
        ValueError: if the size is not a positive number of pixels, not square, out of the renderer's range, or for
            SVHN's numbers above 512.
    """
    size = check_resize(resize, MOST_SVHN if numbers.svhn else None) or (crop.height, crop.width)
    if size[0] != size[1]:
        raise ValueError(f"resize is {resize!r}; house numbers are square, so one number is allowed")

    def images(side: int) -> int:
        return round(side * numbers.size / crop.height)

    if not numbers.svhn and not LEAST_SIZE <= images(size[0]) <= MOST_SIZE:
        fit = [side for side in range(1, MOST_SIZE + 1) if LEAST_SIZE <= images(side) <= MOST_SIZE]
        raise ValueError(f"resize {size[0]} (--resize): house numbers can be {fit[0]} to {fit[-1]} pixels a side")
    return Crop(*size), images(size[0])


def load_numbers(
    name: str,
    numbers: Numbers,
    size: int,
    seed: int = 0,
    grayscale: bool | None = None,
    data: str | os.PathLike[str] | None = None,
    num_images: tuple[int, int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = CACHE,
    progress: Progress | None = None,
    train: bool = True,
) -> dict[str, Source]:
    """Loads whole numbers, from the cache where they are there.

    Args:
        name: the name of the task, for messages.
        numbers: its images.
        size: rows and columns of the images in pixels.
        seed: seed of the rendered images, or of the choice of SVHN's validation numbers.
        grayscale: True for one channel, False for RGB; None as `numbers` says.
        data: the folder with SVHN's files; None for rendered numbers.
        num_images: rendered images of train, validation and test; None for 60,000, 5,000 and 10,000.
        cache_dir: the folder where images are kept once they are rendered or cropped; None for nowhere.
        progress: called with the split, the images made so far and all of them.
        train: whether the training images are needed; else there is but one, rendered, or black in place of SVHN's.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: if an argument does not go with the task, a number is out of range, a font is missing, SVHN's files
            are missing or damaged, or the cache folder cannot be written.
    """
    gray = numbers.grayscale if grayscale is None else grayscale
    if numbers.svhn:
        # Only those who have SVHN need what reads it.
        from common.data.svhn.dataset import SvhnConfig, load_svhn
        from common.data.svhn.files import ADDRESS

        if data is None:
            raise ValueError(
                f"task {name!r} needs data (--data): a folder with train.tar.gz, test.tar.gz and, if wanted, "
                f"extra.tar.gz from {ADDRESS}, as python -m experiments.download_svhn FOLDER fetches them"
            )
        if num_images is not None:
            raise ValueError(
                f"num_images {num_images} is for rendered house numbers only; {name!r} has what is in the files"
            )
        crops = SvhnConfig(size, numbers.growth, gray, numbers.num_symbols)
        return load_svhn(data, crops, cache_dir, progress, seed=seed, train=train)
    if data is not None:
        raise ValueError(f"task {name!r} is rendered, so it takes no data (--data), such as {os.fspath(data)!r}")
    pools = {"train": "train", "validation": "validation", "test": numbers.test}
    counts = num_images or NUM_IMAGES
    # All are checked before any is rendered.
    configs = [
        PoolConfig(pools[split], count, size, numbers.growth, seed)
        for split, count in zip(SPLITS, counts if train else (1, *counts[1:]), strict=True)
    ]
    sources = {}
    for split, config in zip(SPLITS, configs, strict=True):
        pool = render_pool(config, progress) if cache_dir is None else load_pool(config, cache_dir, progress)
        sources[split] = Source(to_gray(pool.images) if gray else pool.images, pool.labels)
    return sources


def to_gray(images: UInt8[np.ndarray, "N h w 3"]) -> UInt8[np.ndarray, "N h w 1"]:
    """Luma of RGB images (ITU-R 601-2)."""
    gray = np.empty((*images.shape[:3], 1), np.uint8)
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        # One tall picture, since each costs.
        tall = Image.fromarray(part.reshape(-1, *part.shape[2:])).convert("L")
        gray[start : start + 1000] = np.asarray(tall).reshape(*part.shape[:3], 1)
    return gray
