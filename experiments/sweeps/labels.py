"""Names and positions of the values on a sweep's axes."""

import math
import re
from collections.abc import Sequence
from typing import Any


def positions(values: Sequence[Any]) -> tuple[list[float], bool]:
    """Return the places of values on an axis, and True if they stand by their size.

    Numbers, or lengths that are all in pixels, stand by their size; anything else at 0, 1, 2 and so on.
    """
    texts = [str(value) for value in values]
    for pattern in (r"(.+)px", r"(.+)"):
        matches = [re.fullmatch(pattern, text) for text in texts]
        try:
            numbers = [float(match[1]) for match in matches if match]
        except ValueError:
            continue
        if len(numbers) == len(values) and all(map(math.isfinite, numbers)):
            return numbers, True
    return [float(index) for index in range(len(values))], False


def label(names: Sequence[str], values: Sequence[Any]) -> str:
    """Return fields and their values as text, such as "units 16, momentum 0.5"."""
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
