"""Your own images from a folder with a subfolder for each class."""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.data.own_images.splits import OwnImages, Resize, check_resize, complete_splits, missing_shares
from common.data.source import SPLITS, Source

# What Pillow raises for damaged files, depending on the format and on where the damage is.
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
    resize: Resize = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
) -> OwnImages:
    """Loads PNG and JPEG files from a folder with a subfolder for each class.

    The names of the subfolders, sorted as text, are the classes. A folder may instead hold `train` and, if
    wanted, `validation` and `test`, each with the subfolders of the classes. Names that start with a dot are
    skipped, and so are files beside the subfolders. Images are turned upright by their EXIF tag, 16 bits are
    reduced to 8, and transparency is blended with black, the colour of an empty canvas.

    Args:
        path: the folder.
        resize: size in pixels of the loaded images, (rows, columns) or one number for both; None to keep
            theirs, which must then be the same for all. Resizing is bilinear, over all covered pixels when
            shrinking.
        grayscale: True for one channel, False for RGB, None for RGB if any file is in colour and one channel
            otherwise.
        validation_fraction: share of each class, at least one image, taken from training if there is no
            `validation`.
        test_fraction: the same for `test`.
        split_seed: seed of that choice, not negative. It depends on the content of the files, not on their names or
            order (see `complete_splits`).

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the path, if it is not a folder, holds no classes, a class is empty or not in
            `train`, a file is not a readable PNG or JPEG, images differ in size and `resize` is None, or a
            class has too few images to split; before any image is read, if an option is out of range.
    """
    size = check_resize(resize)
    root = Path(path)
    if not root.exists():
        raise ValueError(f"no folder at {str(root)!r}")
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is not a folder")
    split_folders = _split_folders(root)
    missing_shares(split_folders, validation_fraction, test_fraction, split_seed)  # Before any image is read.
    class_names = tuple(folder.name for folder in _class_folders(split_folders["train"]))
    files, labels = {}, {}
    for split, folder in split_folders.items():
        files[split], labels[split] = _list_files(folder, class_names)
    pictures = {split: [_read_image(file, size) for file in names] for split, names in files.items()}
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
    return OwnImages(sources, class_names)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split, or of `train` alone if the root holds the classes themselves."""
    found = _subfolders(root)
    splits = {folder.name: folder for folder in found if folder.name in SPLITS}
    others = [folder.name for folder in found if folder.name not in SPLITS]
    # A class may be called 'train': beside other classes, only a folder of folders is a split.
    if not splits or (others and not any(_subfolders(folder) for folder in splits.values())):
        return {"train": root}
    if "train" not in splits:
        raise ValueError(f"{str(root)!r} holds {sorted(splits)} but no 'train' with subfolders of classes")
    if others:
        raise ValueError(f"{str(root)!r} holds the splits {sorted(splits)} and also {others[0]!r}, which is none")
    return splits


def _subfolders(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def _class_folders(folder: Path) -> list[Path]:
    folders = _subfolders(folder)
    if not folders:
        raise ValueError(f"{str(folder)!r} holds no classes: expected a subfolder for each class")
    return folders


def _list_files(folder: Path, class_names: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """The files of one split, class by class, and their labels."""
    files: list[Path] = []
    labels: list[int] = []
    for class_folder in _class_folders(folder):
        if class_folder.name not in class_names:
            raise ValueError(f"class {str(class_folder)!r} is not a class of 'train'; allowed: {list(class_names)}")
        inside = sorted(item for item in class_folder.iterdir() if not item.name.startswith("."))
        if not inside:
            raise ValueError(f"class folder {str(class_folder)!r} holds no images")
        for item in inside:
            if item.is_dir():
                raise ValueError(f"class folder {str(class_folder)!r} holds another folder, {item.name!r}")
        files += inside
        labels += [class_names.index(class_folder.name)] * len(inside)
    return files, labels


def _read_image(file: Path, size: tuple[int, int] | None) -> Image.Image:
    """Reads a file as mode L or RGB, upright, resized to (rows, columns)."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except _BAD_IMAGE as error:
        raise ValueError(f"{str(file)!r} is not a readable PNG or JPEG image: {error}") from error
    if picture.mode.startswith("I"):
        # Pillow clips 16-bit gray at 255 when it converts; 65535 = 257 * 255.
        picture = Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).astype(np.uint8))
    gray = picture.mode in ("1", "L", "LA", "La")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    picture = picture.convert("RGB").convert("L") if gray else picture.convert("RGB")
    return picture if size is None else picture.resize(size[::-1], Image.Resampling.BILINEAR)


def _check_sizes(files: Mapping[str, list[Path]], pictures: Mapping[str, list[Image.Image]]) -> None:
    first = pictures["train"][0]
    for split, some in pictures.items():
        for file, picture in zip(files[split], some, strict=True):
            if picture.size != first.size:
                raise ValueError(
                    f"{str(file)!r} is {picture.height}x{picture.width} pixels, but "
                    f"{str(files['train'][0])!r} is {first.height}x{first.width}: "
                    "give resize to load images of different sizes"
                )
