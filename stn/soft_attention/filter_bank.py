"""The differentiable retina: a grid of Gaussian filters (Gregor et al. 2015, DRAW, section 3.2, equations 19 to 27)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.attention.locations import to_pixels

# Numbers that determine a window: x, y, and the logarithms of variance, stride and intensity.
PARAMETERS = 5
# Filters are kept within this many image lengths, and logarithms within these limits, so that all stays finite.
MAX_DISTANCE = 100.0
MAX_LOGARITHM = 10.0


class Window(NamedTuple):
    """Location, size and sharpness of the retina; any leading axes.

    Attributes:
      centre: normalised ``(x, y)`` of the middle of the grid, ``[..., 2]``.
      stride: pixels between neighbouring filters, ``[...]``.
      sigma: standard deviation of each filter, in pixels, ``[...]``.
      intensity: factor on the values that it reads, ``[...]``.
    """

    centre: Float[Array, "*batch 2"]
    stride: Float[Array, "*batch"]
    sigma: Float[Array, "*batch"]
    intensity: Float[Array, "*batch"]


def make_window(raw: Float[Array, "*batch 5"], size: int, height: int, width: int, relative: bool = True) -> Window:
    """Make a window from five unbounded numbers (Gregor et al. 2015, equations 21 to 24).

    Zeros give the whole image. The centre is in this project's coordinates, with -1 and +1 at the outer edges of the
    image; in the paper they are half a pixel further out.

    Args:
      raw: x, y, log sigma squared, log stride, log intensity; a stride of 1 spans the longer side of the image.
      size: N, filters along each side of the retina.
      height: rows of the image.
      width: columns of the image.
      relative: whether sigma is in units of half a stride, so that zooming in sharpens; else it is in pixels, as in the
        paper.
    """
    logs = jnp.clip(raw[..., 2:], -MAX_LOGARITHM, MAX_LOGARITHM)
    stride = (max(height, width) - 1) / max(size - 1, 1) * jnp.exp(logs[..., 1])
    sigma = jnp.exp(logs[..., 0] / 2) * (stride / 2 if relative else 1.0)
    return Window(raw[..., :2], stride, sigma, jnp.exp(logs[..., 2]))


def filter_bank(
    centre: Float[Array, ""], stride: Float[Array, ""], sigma: Float[Array, ""], size: int, length: int
) -> Float[Array, "{size} {length}"]:
    """Compute Gaussian filters along one axis, each with weights that add up to 1 (equations 19 and 25).

    Args:
      centre: middle of the filters, in pixels from the edge of the image: the centre of pixel j is at j + 1/2.
      stride: pixels between neighbouring filters.
      sigma: standard deviation of each filter in pixels.
      size: N, number of filters.
      length: pixels of the image along the axis.
    """
    means = centre + (jnp.arange(size) - (size - 1) / 2) * stride
    # So far away only the pixel at the edge counts anyway, and squares stay finite.
    means = jnp.clip(means, -MAX_DISTANCE * length, MAX_DISTANCE * length)
    distance = (jnp.arange(length) + 0.5)[None] - means[:, None]
    # Normalised in logarithms: a filter far outside the image reads its edge instead of computing 0 / 0.
    return jax.nn.softmax(-jnp.square(distance) / (2 * jnp.square(sigma) + 1e-8), axis=1)


def window_filters(
    window: Window, size: int, height: int, width: int
) -> tuple[Float[Array, "{size} {height}"], Float[Array, "{size} {width}"]]:
    """Return the filters over rows and over columns of one window."""
    x, y = to_pixels(window.centre, height, width)
    rows = filter_bank(y, window.stride, window.sigma, size, height)
    return rows, filter_bank(x, window.stride, window.sigma, size, width)


def read(image: Float[Array, "H W C"], window: Window, size: int) -> Float[Array, "{size} {size} C"]:
    """Read an image: ``intensity * rows @ image @ columns.T`` for each channel (equation 27).

    A filter outside the image reads the pixels at its edge, since the weights of every filter add up to 1.
    """
    rows, columns = window_filters(window, size, *image.shape[:2])
    return window.intensity * jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision="highest")


def attention_map(window: Window, size: int, height: int, width: int) -> Float[Array, "{height} {width}"]:
    """Return the weight of each pixel in the mean of what the retina reads; the weights add up to 1."""
    rows, columns = window_filters(window, size, height, width)
    return rows.mean(axis=0)[:, None] * columns.mean(axis=0)[None]
