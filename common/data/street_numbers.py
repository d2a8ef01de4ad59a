"""Multi-digit numbers in the street, rendered or from SVHN: the images that crops are taken from, and their labels."""

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from common.data.extras import require_extra
from common.data.house_numbers.fonts import font_modules
from common.data.house_numbers.pool import NUM_SYMBOLS, PoolConfig, Progress, load_pool, render_pool
from common.data.house_numbers.renderer import MAX_SIZE, MIN_SIZE
from common.data.own_images.resizing import Size, check_size
from common.data.recipes.crops import Crop
from common.data.source import SPLITS, Source

SYMBOLS = (*"0123456789", "end")
# Rendered images of train, validation and test by default.
NUM_IMAGES = (60_000, 5_000, 10_000)
# Largest side of SVHN's crops in pixels: larger ones fill the memory after minutes of reading.
MAX_SVHN_SIZE = 512


@dataclass(frozen=True)
class Numbers:
    """The source of the images of a task, and their size before a crop is taken.

    Attributes:
        svhn: True for SVHN, from a folder of the user; False for rendered house numbers.
        size: rows and columns of the images, in pixels, for crops of the task's own size.
        growth: side of the images relative to the bounding box of the number.
        test: which pool is the test split: test, or new_fonts, in fonts that no other split uses.
        grayscale: one channel by default, instead of RGB.
        num_symbols: length S of a label.
    """

    svhn: bool = False
    size: int = 64
    growth: float = 1.3
    test: str = "test"
    grayscale: bool = False
    num_symbols: int = NUM_SYMBOLS


def fit_crop(crop: Crop, numbers: Numbers, resize: Size) -> tuple[Crop, int]:
    """Return the crop at the requested size, and the size of the images it is taken from, in proportion.

    Args:
        crop: the crop of the task, square.
        numbers: the images of the task.
        resize: the side of the crop in pixels, see `check_size`; None for the task's own.

    Returns:
        The crop, and the side of the images.

    Raises:
        ValueError: the size is not square or out of range.
    """

    def image_size(side: int) -> int:
        return round(side * numbers.size / crop.height)

    if numbers.svhn:
        least, most = 1, MAX_SVHN_SIZE
    else:
        sides = [side for side in range(1, MAX_SIZE + 1) if MIN_SIZE <= image_size(side) <= MAX_SIZE]
        least, most = sides[0], sides[-1]
    size = check_size(resize, least, most) or (crop.height, crop.width)
    if size[0] != size[1]:
        raise ValueError(f"resize {resize!r} (--resize): house numbers are square, so give one number")
    return Crop(*size), image_size(size[0])


def load_numbers(
    name: str,
    numbers: Numbers,
    size: int,
    seed: int = 0,
    grayscale: bool | None = None,
    data: str | os.PathLike[str] | None = None,
    num_images: tuple[int, int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    train: bool = True,
) -> dict[str, Source]:
    """Load multi-digit numbers, from the cache where possible.

    Args:
        name: the name of the task, for messages.
        numbers: its images.
        size: rows and columns of the images in pixels.
        seed: seed of the rendered images, or of the choice of SVHN's validation numbers.
        grayscale: True for one channel, False for RGB, None for the default of `numbers`.
        data: the folder with SVHN's files; None for rendered numbers.
        num_images: rendered images of train, validation and test; None for 60,000, 5,000 and 10,000.
        cache_dir: the folder that keeps rendered or cropped images; None to keep none.
        progress: called with the split, the number of images made so far, and the number of all images.
        train: False if the training images are not needed; `train` then holds a single image.

    Returns:
        `train`, `validation` and `test`, NumPy arrays: images uint8 `[N, size, size, C]`, labels int32 `[N, S]`.

    Raises:
        ValueError: an argument does not apply to the task, a number is out of range, an optional package is missing, or
            SVHN's files are missing or damaged.
        OSError: the cache folder cannot be written.
    """
    gray = numbers.grayscale if grayscale is None else grayscale
    if numbers.svhn:
        return _load_svhn(name, numbers, size, seed, gray, data, cache_dir, progress, train)
    if data is not None:
        raise ValueError(f"data {os.fspath(data)!r} (--data): task {name!r} is rendered, so it takes no data")
    require_extra(f"task {name!r}", "fonts", "house_numbers", *font_modules())
    pools = {"train": "train", "validation": "validation", "test": numbers.test}
    counts = num_images or NUM_IMAGES
    # Check all configurations before any image is rendered.
    configs = [
        PoolConfig(pools[split], count, size, numbers.growth, seed)
        for split, count in zip(SPLITS, counts if train else (1, *counts[1:]), strict=True)
    ]
    sources = {}
    for split, config in zip(SPLITS, configs, strict=True):
        pool = render_pool(config, progress) if cache_dir is None else load_pool(config, cache_dir, progress)
        sources[split] = Source(to_gray(pool.images) if gray else pool.images, pool.labels)
    return sources


def _load_svhn(
    name: str,
    numbers: Numbers,
    size: int,
    seed: int,
    gray: bool,
    data: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str] | None,
    progress: Progress | None,
    train: bool,
) -> dict[str, Source]:
    from common.data.svhn.dataset import SvhnConfig, load_svhn
    from common.data.svhn.files import ADDRESS

    require_extra(f"task {name!r}", "h5py", "svhn", "h5py")
    if data is None:
        raise ValueError(
            f"task {name!r} needs data (--data): a folder with train.tar.gz, test.tar.gz and optionally extra.tar.gz "
            f"from {ADDRESS}; python -m experiments.download_svhn FOLDER downloads them"
        )
    crops = SvhnConfig(size, numbers.growth, gray, numbers.num_symbols)
    return load_svhn(data, crops, cache_dir, progress, seed=seed, train=train)


def to_gray(images: UInt8[np.ndarray, "N h w 3"]) -> UInt8[np.ndarray, "N h w 1"]:
    """Convert RGB images to luma (ITU-R 601-2)."""
    gray = np.empty((*images.shape[:3], 1), np.uint8)
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        # Pillow's cost is per picture, so convert many images as one tall picture.
        tall = Image.fromarray(part.reshape(-1, *part.shape[2:])).convert("L")
        gray[start : start + 1000] = np.asarray(tall).reshape(*part.shape[:3], 1)
    return gray
