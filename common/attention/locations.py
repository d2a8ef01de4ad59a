"""Coordinates, sigma in normalised units and in pixels, and first locations.

A location is ``(x, y)`` in ``[-1, 1]``: -1 and +1 are the outer edges of the image and 0 its centre. Pixel
coordinates are continuous and measured from the upper left edge, so that column ``j`` covers ``[j, j + 1)``.
`to_pixels` and `to_normalised` convert between the two.
"""

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

SIGMA_PATTERN = re.compile(r"(?P<value>[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)\s*(?P<unit>px)?")


def to_pixels(location: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    """Convert normalised ``(x, y)`` in [-1, 1] to continuous pixel ``(x, y)`` in [0, W] and [0, H]."""
    return (location + 1) / 2 * _extent(location, height, width)


def to_normalised(pixels: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    """Convert continuous pixel ``(x, y)`` to normalised ``(x, y)``, the inverse of `to_pixels`."""
    return pixels / _extent(pixels, height, width) * 2 - 1


def _extent(like: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    return jnp.broadcast_to(jnp.array([width, height], like.dtype), like.shape)


def parse_sigma(text: str, height: int, width: int, name: str = "sigma") -> tuple[float, float]:
    """Read a standard deviation of the location noise, in normalised units or in pixels.

    Args:
      text: ``"0.1"`` (normalised: half the image is 1) or ``"5px"`` (pixels of the image).
      height: image rows.
      width: image columns.
      name: the name of the field, for the message.

    Returns:
      Normalised ``(sigma_x, sigma_y)``. The two differ when pixels are given and the image is not square.

    Raises:
      ValueError: the text is neither form, or the value is not positive and finite.
    """
    match = SIGMA_PATTERN.fullmatch(text.strip())
    value = float(match["value"]) if match else float("nan")
    in_pixels = bool(match and match["unit"])
    sigma = (value * 2 / width, value * 2 / height) if in_pixels else (value, value)
    # Single precision, in which sigma is used, rounds a tiny number to 0 and a huge one to infinity.
    with np.errstate(over="ignore"):
        usable = all(0 < np.float32(s) < np.inf for s in sigma)
    if not usable:
        raise ValueError(f"{name} {text!r}: give a positive number, normalised ('0.1') or in pixels ('5px')")
    return sigma


def describe_sigma(sigma: Sequence[float], height: int, width: int) -> str:
    """Describe a normalised ``(sigma_x, sigma_y)`` in both units, for example ``0.1 (5 px)``."""
    normalised, pixels = [f"{s:.4g}" for s in sigma], [f"{sigma[0] * width / 2:.4g}", f"{sigma[1] * height / 2:.4g}"]
    return f"{' x '.join(dict.fromkeys(normalised))} ({' x '.join(dict.fromkeys(pixels))} px)"


def clip_location(location: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
    """Clip a location to the image: a sample may fall outside [-1, 1], a glimpse is taken inside."""
    return jnp.clip(location, -1.0, 1.0)


def uniform_location(key: Key[Array, ""], batch_size: int) -> Float[Array, "{batch_size} 2"]:
    """Draw locations uniformly over the image: the first location ``uniform``, and the policy ``random``."""
    return jax.random.uniform(key, (batch_size, 2), minval=-1.0, maxval=1.0)


def centre_location(key: Key[Array, ""], batch_size: int) -> Float[Array, "{batch_size} 2"]:
    """Return the centre of the image: the first location ``centre``. The key is not used."""
    del key
    return jnp.zeros((batch_size, 2))


FIRST_LOCATIONS = {"uniform": uniform_location, "centre": centre_location}
