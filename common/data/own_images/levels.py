"""The levels of own images: 0 for black to 255 for white, and what to do with other numbers."""

import numpy as np
from jaxtyping import Shaped, UInt8


def check_levels(what: str, images: UInt8[np.ndarray, "..."]) -> None:
    """Check that images do not hold 0 for black and 1 for white.

    Args:
        what: the images, for the message.
        images: all images of a split.

    Raises:
        ValueError: their highest level is 1.
    """
    if images.max(initial=0) == 1:
        raise ValueError(f"{what} hold only 0 and 1, which is black: multiply by 255, so that white is 255")


def describe_conversion(images: Shaped[np.ndarray, "..."]) -> str:
    """Return how to convert arrays of another type to uint8, as the end of a message; nothing where that is unclear."""
    if images.dtype == bool:
        return "; convert them with 255 * images.astype(np.uint8)"
    if images.dtype == np.uint8 or images.dtype.kind not in "iuf" or not images.size:
        return ""
    least, most = images.min(), images.max()
    if not (least >= 0 and most <= 255):  # Also if a number is NaN.
        return f"; their levels must be 0 to 255, not {least:g} to {most:g}"
    if most <= 1:
        return "; convert them with np.rint(255 * images).astype(np.uint8)"
    rounded = "np.rint(images)" if images.dtype.kind == "f" else "images"
    return f"; convert them with {rounded}.astype(np.uint8)"
