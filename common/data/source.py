"""Labelled images: what every data function takes and returns."""

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
        labels: int32 `[N]`: the class of each image, from 0; or `[N, S]`: its symbols in reading order, padded with the
            end symbol, which is the last class. A label that fills all S positions has no end symbol.
    """

    images: Images
    labels: Labels


class LabelledSplits(NamedTuple):
    """The images of all splits, with the names of their classes.

    Attributes:
        sources: the keys `train`, `validation` and `test`; images of one height, width and number of channels.
        class_names: the name of each label.
    """

    sources: dict[str, Source]
    class_names: tuple[str, ...]
