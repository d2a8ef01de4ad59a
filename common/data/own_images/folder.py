"""Your own images from a folder with a subfolder for each class."""

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile

from common.data.own_images.levels import check_levels
from common.data.own_images.resizing import ResizeMode, Size, check_size, resize_picture
from common.data.own_images.spellings import split_of
from common.data.own_images.splits import complete_splits, missing_fractions
from common.data.own_images.summary import describe_images
from common.data.source import LabelledSplits, Source
from common.user_files import check_link, check_memory, check_regular, list_names, reading

_FORMATS = ("PNG", "JPEG")
_EXIF = b"Exif\0\0"
# What turns a picture upright, by its orientation tag.
_TRANSPOSITIONS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The steps from 0 to 255 of gray levels that are stored in two and in four bits.
_GRAY_STEPS = {"L;2": 85, "L;4": 17}


def load_folder(
    path: str | os.PathLike[str],
    resize: Size = None,
    grayscale: bool | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    resize_mode: ResizeMode = "pad",
    report: Callable[[str], None] | None = None,
) -> LabelledSplits:
    """Load PNG and JPEG files from a folder with a subfolder for each class.

    The names of the subfolders, sorted as text, are the classes. A folder may instead hold `train` and optionally
    `validation` and `test` (or another spelling, see `common.data.own_images.spellings`), each with the subfolders of
    the classes. Hidden files and folders, and files beside the subfolders, are ignored. Images are rotated as their
    EXIF tag says, 16 bits are reduced to 8, and transparency is blended with black, the background of all tasks.

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
        report: called with one line about what was loaded.

    Returns:
        The images and the names of the classes.

    Raises:
        ValueError: naming the path, if it holds no classes or a split twice, a class is empty or not in `train`, a file
            is not a readable PNG or JPEG, a link leads nowhere, images differ in size and `resize` is None, they are
            all black or need more memory than there is, or a class has too few images to split; or an option is out of
            range.
    """
    size = check_size(resize)
    root = Path(path)
    split_folders = _split_folders(root)
    missing_fractions(split_folders, validation_fraction, test_fraction)  # Before any image is read.
    class_names = tuple(folder.name for folder in _class_folders(split_folders["train"]))
    files, labels = {}, {}
    for split, folder in split_folders.items():
        files[split], labels[split] = _list_files(folder, class_names)
    first = read_image(files["train"][0], size, resize_mode)
    # The pictures and the arrays made of them.
    check_memory(root, 2 * sum(map(len, files.values())) * first.width * first.height * len(first.getbands()))
    pictures = {split: [read_image(file, size, resize_mode) for file in names] for split, names in files.items()}
    _check_sizes(files, pictures)
    if grayscale is None:
        grayscale = all(picture.mode == "L" for some in pictures.values() for picture in some)
    mode = "L" if grayscale else "RGB"
    sources = {}
    for split, some in pictures.items():
        images = np.stack([np.asarray(picture.convert(mode), np.uint8) for picture in some])
        sources[split] = Source(images[..., None] if grayscale else images, np.array(labels[split], np.int32))
    stored = sources
    sources = complete_splits(
        sources,
        lambda i: files["train"][i].read_bytes(),
        class_names,
        root,
        validation_fraction,
        test_fraction,
        split_seed,
    )
    for split, source in stored.items():
        check_levels(f"the pictures in {str(split_folders[split])!r}", np.asarray(source.images))
    loaded = LabelledSplits(sources, class_names)
    if report is not None:
        spellings = {split: folder.name for split, folder in split_folders.items() if folder != root}
        report(describe_images(root, loaded, {"train": "train"} | spellings))
    return loaded


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split; only `train` if the root holds the classes themselves."""
    folders = _subfolders(root)
    splits: dict[str, list[Path]] = {}
    for folder in folders:
        if (split := split_of(folder.name)) is not None:
            splits.setdefault(split, []).append(folder)
    named = [folder for same in splits.values() for folder in same]
    # A class may be called "train": beside other classes, only a folder of folders is a split.
    if not named or (len(named) < len(folders) and not any(_subfolders(folder) for folder in named)):
        return {"train": root}
    for split, same in splits.items():
        if len(same) > 1:
            names = " and ".join(folder.name for folder in same)
            raise ValueError(f"{str(root)!r} holds the folders {names}, which all mean {split}: keep one")
    if "train" not in splits or len(named) < len(folders):
        names = list_names(folder.name for folder in folders)
        raise ValueError(f"{str(root)!r} holds the folders {names}: expected train, and optionally validation and test")
    return {split: folder for split, (folder,) in splits.items()}


def _subfolders(folder: Path) -> list[Path]:
    items = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    for item in items:
        check_link(item, f"{str(item)!r} cannot be read")
    return [item for item in items if item.is_dir()]


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
            raise ValueError(f"class {str(class_folder)!r} is not a class of train: expected {list_names(class_names)}")
        for item in inside:
            if item.is_dir():
                expected = "expected FOLDER/CLASS/PICTURE, or FOLDER/train/CLASS/PICTURE"
                raise ValueError(f"{str(item)!r} is not a readable PNG or JPEG image: it is a folder; {expected}")
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
    check_regular(file, unreadable)
    with reading(unreadable), _open(file) as opened:
        picture = _blend(_to_eight_bits(opened))
        method = _transposition(opened)
        picture = picture if method is None else picture.transpose(method)
        return picture if size is None else resize_picture(picture, size, resize_mode)


def _open(file: Path) -> ImageFile.ImageFile:
    """Open a PNG or JPEG file."""
    try:
        return Image.open(file, formats=_FORMATS)
    except Image.UnidentifiedImageError:
        # Pillow looks for the resolution of a JPEG in its EXIF data, and gives up where it is odd: hide them.
        content = file.read_bytes()
        start = content.find(_EXIF)
        if start < 0:
            raise
        with contextlib.suppress(Image.UnidentifiedImageError):
            opened = Image.open(io.BytesIO(content.replace(_EXIF, bytes(len(_EXIF)))), formats=_FORMATS)
            opened.info["exif"] = content[start:]
            return opened
        raise


def _transposition(picture: Image.Image) -> Image.Transpose | None:
    """Return what turns a picture upright, by its orientation tag; None if nothing must, or the tag is unreadable."""
    # Nothing in EXIF is worth losing a picture, and Pillow's exception depends on which byte is odd.
    with contextlib.suppress(Exception):
        return _TRANSPOSITIONS.get(picture.getexif().get(ExifTags.Base.Orientation))
    return None


def _to_eight_bits(opened: ImageFile.ImageFile) -> Image.Image:
    """Load a picture, with its levels and its transparent colour from 0 to 255."""
    stored = str(opened.tile[0].args) if opened.tile else opened.mode  # Pillow's name of how the file stores pixels.
    opened.load()
    key = opened.info.get("transparency")
    if opened.mode.startswith("I"):
        # Pillow clips 16-bit gray at 255 when it converts; 65535 = 257 * 255.
        levels = np.asarray(opened).astype(np.int64)
        levels[levels == key] = 0  # None where no level stands for transparency.
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if stored == "LA;16B":  # Pillow reads it as colour.
        return opened.convert("LA")
    # Pillow scales the levels of pixels, but not those of the colour that stands for transparency.
    if stored in _GRAY_STEPS and key is not None:
        opened.info["transparency"] = key * _GRAY_STEPS[stored]
    elif stored == "RGB;16B" and key is not None:
        opened.info["transparency"] = tuple(level // 256 for level in key)
    return opened


def _blend(picture: Image.Image) -> Image.Image:
    """Blend a picture with black where it is transparent, and convert it to gray or RGB."""
    gray = picture.mode in ("1", "L", "LA", "La")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture.convert("RGB").convert("L") if gray else picture.convert("RGB")


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
