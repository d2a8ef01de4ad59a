"""Your own images from a folder with a subfolder for each class."""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.checks import explained
from common.data.own_images.resizing import ResizeMode, Size, check_size, resize_picture
from common.data.own_images.splits import complete_splits, missing_fractions
from common.data.source import SPLITS, LabelledSplits, Source

# Pillow raises these for damaged files, depending on the format and on where the damage is.
_BAD_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_folder(
    path: str | os.PathLike[str],
    resize: Size = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    resize_mode: ResizeMode = "pad",
) -> LabelledSplits:
    """Load PNG and JPEG files from a folder with a subfolder for each class.

    The names of the subfolders, sorted as text, are the classes. A folder may instead hold `train` and optionally
    `validation` and `test`, each with the subfolders of the classes. Hidden files and folders, and files beside the
    subfolders, are ignored. Images are rotated as their EXIF tag says, 16 bits are reduced to 8, and transparency is
    blended with black, the background of all tasks.

    Args:
        path: the folder.
        resize: size in pixels of the loaded images, see `check_size`; None to keep their size, which must then be the
            same for all.
        grayscale: True for one channel, False for RGB, None for RGB if any file is in colour and one channel otherwise.
        validation_fraction: fraction of each class, at least one image, taken from training if there is no
            `validation`.
        test_fraction: the same for `test`.
        split_seed: seed of that choice, which depends on the content of the files, not on their names or order (see
            `complete_splits`).
        resize_mode: how `resize` treats the aspect ratio, see `resize_picture`.

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the path, if it holds no classes, a class is empty or not in `train`, a file is not a
            readable PNG or JPEG, images differ in size and `resize` is None, or a class has too few images to split; or
            an option is out of range.
    """
    size = check_size(resize)
    root = Path(path)
    split_folders = _split_folders(root)
    missing_fractions(split_folders, validation_fraction, test_fraction)  # Before any image is read.
    class_names = tuple(folder.name for folder in _class_folders(split_folders["train"]))
    files, labels = {}, {}
    for split, folder in split_folders.items():
        files[split], labels[split] = _list_files(folder, class_names)
    pictures = {split: [read_image(file, size, resize_mode) for file in names] for split, names in files.items()}
    _check_sizes(files, pictures)
    if grayscale is None:
        grayscale = all(picture.mode == "L" for some in pictures.values() for picture in some)
    mode = "L" if grayscale else "RGB"
    sources = {}
    for split, some in pictures.items():
        images = np.stack([np.asarray(picture.convert(mode), np.uint8) for picture in some])
        sources[split] = Source(images[..., None] if grayscale else images, np.array(labels[split], np.int32))
    sources = complete_splits(
        sources,
        lambda i: files["train"][i].read_bytes(),
        class_names,
        root,
        validation_fraction,
        test_fraction,
        split_seed,
    )
    return LabelledSplits(sources, class_names)


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split; only `train` if the root holds the classes themselves."""
    folders = _subfolders(root)
    splits = {folder.name: folder for folder in folders if folder.name in SPLITS}
    # A class may be called "train": beside other classes, only a folder of folders is a split.
    if not splits or (len(splits) < len(folders) and not any(_subfolders(folder) for folder in splits.values())):
        return {"train": root}
    if "train" not in splits or len(splits) < len(folders):
        names = ", ".join(folder.name for folder in folders)
        raise ValueError(f"{str(root)!r} holds the folders {names}: expected train, and optionally validation and test")
    return splits


def _subfolders(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def _class_folders(folder: Path) -> list[Path]:
    return _require_some(_subfolders(folder), folder, "classes: expected a subfolder for each class")


def _require_some(items: list[Path], folder: Path, what: str) -> list[Path]:
    if not items:
        raise ValueError(f"{str(folder)!r} holds no {what}")
    return items


def _list_files(folder: Path, class_names: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """Return the files of one split, class by class, and their labels."""
    files: list[Path] = []
    labels: list[int] = []
    for class_folder in _class_folders(folder):
        inside = sorted(item for item in class_folder.iterdir() if not item.name.startswith("."))
        if class_folder.name not in class_names:
            raise ValueError(f"class {str(class_folder)!r} is not a class of train: expected {', '.join(class_names)}")
        files += _require_some(inside, class_folder, "images")
        labels += [class_names.index(class_folder.name)] * len(inside)
    return files, labels


def read_image(file: Path, size: tuple[int, int] | None, resize_mode: ResizeMode) -> Image.Image:
    """Read a PNG or JPEG file as a picture of mode L or RGB, upright, on black where it is transparent.

    Args:
        file: its path.
        size: rows and columns to resize it to; None for those that it has.
        resize_mode: see `common.data.own_images.resizing.resize_picture`.

    Raises:
        ValueError: the file is no picture that can be read.
    """
    unreadable = f"{str(file)!r} is not a readable PNG or JPEG image"
    with explained(unreadable, *_BAD_IMAGE), Image.open(file, formats=("PNG", "JPEG")) as opened:
        picture = ImageOps.exif_transpose(opened)
        picture.load()
    if picture.mode.startswith("I"):
        # Pillow clips 16-bit gray at 255 when it converts; 65535 = 257 * 255.
        picture = Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).astype(np.uint8))
    gray = picture.mode in ("1", "L", "LA", "La")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    picture = picture.convert("RGB").convert("L") if gray else picture.convert("RGB")
    return picture if size is None else resize_picture(picture, size, resize_mode)


def _check_sizes(files: Mapping[str, list[Path]], pictures: Mapping[str, list[Image.Image]]) -> None:
    first = pictures["train"][0]
    for split, some in pictures.items():
        for file, picture in zip(files[split], some, strict=True):
            if picture.size != first.size:
                raise ValueError(
                    f"{str(file)!r} is {picture.height}x{picture.width} pixels, but "
                    f"{str(files['train'][0])!r} is {first.height}x{first.width}: "
                    "give --resize to load images of different sizes"
                )
