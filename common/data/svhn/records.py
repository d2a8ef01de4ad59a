"""The records of SVHN: file name, digits and bounding boxes of each picture."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Record(NamedTuple):
    """The annotation of one picture.

    Attributes:
        name: its file name.
        digits: 0 to 9, in the order of the file, which is reading order.
        boxes: float32 `[len(digits), 4]`: left, top, right, bottom of each digit in pixels.
    """

    name: str
    digits: tuple[int, ...]
    boxes: Float[np.ndarray, "S 4"]
