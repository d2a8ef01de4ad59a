"""Resizing own images: the size as it is typed, and what happens to the aspect ratio."""

import re
from typing import Literal

from PIL import Image, ImageOps

# Rows and columns in pixels; or one number, or text such as "64" or "48x64" (rows x columns).
Size = tuple[int, int] | int | str | None
ResizeMode = Literal["pad", "crop", "stretch"]
# Largest side of own images in pixels: larger ones fill the memory after minutes of reading.
MAX_SIZE = 2048


def check_size(resize: Size, least: int = 1, most: int = MAX_SIZE) -> tuple[int, int] | None:
    """Return a size as (rows, columns); None stays None.

    Args:
        resize: one side of a square, `(rows, columns)`, or text: `SIDE` or `HxW`, such as `48x64`.
        least: the smallest side that is allowed.
        most: the largest side that is allowed.

    Raises:
        ValueError: it is not a size, or a side is out of range.
    """
    if resize is None:
        return None
    if isinstance(resize, str):
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", resize)
        sides = tuple(int(side) for side in match.groups(match[1])) if match else ()
    else:
        sides = (resize, resize) if isinstance(resize, int) else tuple(resize)
    if len(sides) != 2 or not all(least <= side <= most for side in sides):
        raise ValueError(
            f"resize {resize!r} (--resize): must be SIDE or HxW in pixels, such as 64 or 48x64; each side from "
            f"{least} to {most}"
        )
    return sides[0], sides[1]


def resize_picture(picture: Image.Image, size: tuple[int, int], mode: ResizeMode) -> Image.Image:
    """Resize a picture bilinearly, averaging over all covered pixels when shrinking.

    Where the aspect ratio stays the same, all modes give the same pixels.

    Args:
        picture: any mode in which 0 is black.
        size: rows and columns of the result in pixels.
        mode: `pad` keeps the aspect ratio and fills the rest with black; `crop` keeps the aspect ratio, covers the
            result and cuts off what is left over on both sides; `stretch` changes the aspect ratio.
    """
    rows, columns = size
    if mode == "stretch":
        return picture.resize((columns, rows), Image.Resampling.BILINEAR)
    if mode == "crop":
        return ImageOps.fit(picture, (columns, rows), Image.Resampling.BILINEAR)
    scale = min(columns / picture.width, rows / picture.height)
    # Unlike `ImageOps.pad`, keep at least one pixel of very long pictures.
    inner = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    resized = picture.resize(inner, Image.Resampling.BILINEAR)
    if inner == (columns, rows):
        return resized
    padded = Image.new(picture.mode, (columns, rows))
    padded.paste(resized, ((columns - inner[0]) // 2, (rows - inner[1]) // 2))
    return padded
