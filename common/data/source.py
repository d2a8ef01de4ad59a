"""The container that every data function passes around: uint8 images with their labels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int, UInt8

SPLITS = ("train", "validation", "test")

Images = UInt8[Array, "N h w C"] | UInt8[np.ndarray, "N h w C"]
Labels = Int[Array, "N *S"] | Int[np.ndarray, "N *S"]


class Source(NamedTuple):
    """Labelled images, on the host (NumPy) or on a device (JAX); a pytree.

    Attributes:
        images: uint8 `[N, h, w, C]`: images, rows from the top, columns from the left, channels.
        labels: int32 `[N]`: class of each image, from 0; or `[N, S]`: its symbols in the order of reading, filled
            up with the end symbol, which is the last class; a label that fills all S places has none.
    """

    images: Images
    labels: Labels
