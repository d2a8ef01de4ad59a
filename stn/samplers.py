"""Samplers: reading an image, or a volume, at the points of a grid (Jaderberg et al. 2015, section 3.3).

Grids are normalised, see `stn.grids`.
"""

import functools
import itertools
import operator
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.names import unknown

Interpolation = Literal["bilinear", "nearest"]
Padding = Literal["constant", "border"]
Fill = float | Float[Array, "C"] | Float[Array, ""]


def to_index(coordinate: Float[Array, "*points"], length: int, align_corners: bool = False) -> Float[Array, "*points"]:
    """Normalised coordinate along an axis of ``length`` pixels to a continuous index: pixel j has its centre at j.

    Normalised coordinates of most pixel centres are not floating-point numbers, so a grid that is meant to hit a
    centre misses it by a rounding error. Within a few roundings of a centre the index is that of the centre: the
    identity, shifts by whole pixels, flips and quarter turns give back the pixels to the last bit. The gradient is not
    changed by this.

    By this and by rounding an index in float32 is off, and the more the longer the axis: noise in [-1, 1] is read to
    1e-5 in small images, to 1e-4 up to a side of 60 pixels, and to 1e-3 up to 512. Coordinates of less precision are
    taken for float32.
    """
    coordinate = coordinate.astype(jnp.promote_types(coordinate.dtype, jnp.float32))
    index = coordinate * ((length - 1 if align_corners else length) / 2) + (length - 1) / 2
    nearest = jax.lax.stop_gradient(jnp.round(index))
    is_centre = jnp.abs(index - nearest) <= 2 * length * jnp.finfo(index.dtype).eps
    return index + jax.lax.stop_gradient(jnp.where(is_centre, nearest - index, 0))


def sample(
    images: Float[Array, "B *spatial C"],
    grids: Float[Array, "B *points n"],
    *,
    interpolation: Interpolation = "bilinear",
    padding: Padding = "constant",
    fill: Fill = 0.0,
    align_corners: bool = False,
) -> Float[Array, "B *points C"]:
    """Reads each image at the points of its grid: equation 5 of the paper, and equation 4 for the nearest pixel.

    Differentiable in the images and, when interpolated, in the grids, almost everywhere; where a point is at the centre
    of a pixel the gradient in the grid is the one-sided one towards larger coordinates. With the padding ``border`` it
    is half the slope inside at the centres of the outermost pixels, beyond which the slope is 0.

    Args:
      images: ``[B, H, W, C]``, or volumes ``[B, D, H, W, C]``, which are then read trilinearly.
      grids: where to read, normalised ``(x, y)`` or ``(x, y, z)``; points may lie outside, and anywhere.
      interpolation: ``bilinear`` between the nearest 2**n pixels, or ``nearest`` (halves go to the even index).
      padding: what lies outside: ``constant`` pixels of the value ``fill``, or ``border``, the nearest pixel.
      fill: brightness of what lies outside, in the units of the images. An image whose background is not 0, for example
        one normalised to zero mean, is given its background's value in those units, or else the edge between
        image and outside is seen as structure.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.

    Raises:
      ValueError: the grids have another number of coordinates than the images have axes, or there are fewer or more of
        them; images of integers, in which neither means nor the fill may exist; or an unknown name.
    """
    _check(images, grids, interpolation, padding)
    batch, *lengths, channels = images.shape
    margin = 1 if padding == "constant" else 0
    if margin:
        images = _surround(images, fill)
    # All pixels of all images on one axis: on a CPU its gradient is twice as fast as that of a gather for each image.
    pixels = images.reshape(-1, channels)
    strides = np.cumprod([1, *images.shape[-2:1:-1]])[::-1].tolist()
    first = jnp.arange(batch, dtype=jnp.int32) * int(np.prod(images.shape[1:-1]))
    first = first.reshape(batch, *[1] * (grids.ndim - 2))

    indices = []
    for axis, length in enumerate(lengths):
        # Coordinates are (x, y, z), axes (z, y, x).
        index = to_index(grids[..., len(lengths) - 1 - axis], length, align_corners)
        # From one pixel outside on all is padding; what is not a number is sent there too.
        indices.append(jnp.clip(jnp.where(jnp.isnan(index), -1.0, index), -margin, length - 1 + margin))
    sides = images.shape[1:-1]

    def read(place: list[Array], offset: int = 0) -> Array:
        flat = sum((i * stride for i, stride in zip(place, strides, strict=True)), start=first + offset)
        return pixels.at[flat].get(mode="promise_in_bounds")

    if interpolation == "nearest":
        # Before the margin is added, which would make even indices odd.
        return read([jnp.round(index).astype(jnp.int32) + margin for index in indices])
    indices = [index + margin for index in indices]
    # The last cell begins one pixel before the end, so that every cell has its two corners.
    lower = [jnp.floor(i).astype(jnp.int32) for i in indices]
    lower = [jnp.minimum(low, max(side - 2, 0)) for low, side in zip(lower, sides, strict=True)]
    part = [(i - low)[..., None] for i, low in zip(indices, lower, strict=True)]
    steps = [stride if side > 1 else 0 for stride, side in zip(strides, sides, strict=True)]

    def corner(upper: tuple[int, ...]) -> Array:
        weights = (p if up else 1 - p for up, p in zip(upper, part, strict=True))
        offset = sum(up * step for up, step in zip(upper, steps, strict=True))
        return functools.reduce(operator.mul, weights) * read(lower, offset)

    return functools.reduce(operator.add, map(corner, itertools.product((0, 1), repeat=len(lengths))))


def _check(images: Array, grids: Array, interpolation: str, padding: str) -> None:
    axes = images.ndim - 2
    if grids.shape[-1] != axes:
        raise ValueError(f"grid of {grids.shape[-1]} coordinates: the image has {axes} axes")
    if len(grids) != len(images):
        raise ValueError(f"{len(grids)} grids: must be as many as the images, {len(images)}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images of {images.dtype}: must be floating-point numbers")
    for kind, name, known in (("interpolation", interpolation, Interpolation), ("padding", padding, Padding)):
        if name not in get_args(known):
            raise unknown(kind, name, get_args(known))


def _surround(images: Array, fill: Fill) -> Array:
    """The images with a margin of one pixel of the fill."""
    fill = jnp.asarray(fill, images.dtype)
    if not fill.ndim:
        return jnp.pad(images, [(0, 0), *[(1, 1)] * (images.ndim - 2), (0, 0)], constant_values=fill)
    shape = [images.shape[0], *[length + 2 for length in images.shape[1:-1]], images.shape[-1]]
    canvas = jnp.broadcast_to(fill.reshape([1] * (images.ndim - 1) + [-1]), shape)
    return jax.lax.dynamic_update_slice(canvas, images, (0, *[1] * (images.ndim - 2), 0))


def project(volumes: Float[Array, "*batch D H W C"], axis: int = 0) -> Float[Array, "*batch rows columns C"]:
    """Flattens volumes by summing along one of their axes (Jaderberg et al. 2015, appendix, 3-D transformers).

    Args:
      volumes: one, or several such as `sample` makes.
      axis: 0 to look along z, 1 along y, 2 along x.

    Raises:
      ValueError: there is no such axis.
    """
    if axis not in range(3):
        raise ValueError(f"axis {axis}: must be 0, 1 or 2")
    return volumes.sum(axis=axis - 4)
