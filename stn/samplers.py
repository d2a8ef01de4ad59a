"""Samplers: read an image, or a volume, at the points of a grid (Jaderberg et al. 2015, section 3.3).

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

from common.names import check_name

Interpolation = Literal["bilinear", "nearest"]
Padding = Literal["constant", "border"]
Fill = float | Float[Array, "C"] | Float[Array, ""]


def to_index(coordinate: Float[Array, "*points"], length: int, align_corners: bool = False) -> Float[Array, "*points"]:
    """Convert normalised coordinates along an axis of ``length`` pixels to continuous indices.

    Pixel j has its centre at index j. The normalised coordinates of most pixel centres are no floating-point numbers,
    so a grid that should hit a centre misses it by a rounding error. Within a few rounding errors of a centre the index
    is set to the centre: the identity, shifts by whole pixels, flips and quarter turns return the pixels to the last
    bit. The gradient stays as it is.

    Rounding makes indices in float32 inexact, the more so the longer the axis: noise in [-1, 1] is read with an error
    below 1e-5 in small images, 1e-4 up to a side of 60 pixels, and 1e-3 up to 512. Coordinates of lower precision are
    converted to float32.
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
    """Read each image at the points of its grid (Jaderberg et al. 2015, equation 5; equation 4 for ``nearest``).

    Differentiable in the images and, if ``bilinear``, in the grids almost everywhere. At the centre of a pixel the
    gradient in the grid is the one-sided derivative towards larger coordinates. With the padding ``border``, at the
    centres of the outermost pixels, it is half the slope inside, since the slope outside is 0.

    Args:
      images: ``[B, H, W, C]``, or volumes ``[B, D, H, W, C]``, which are read trilinearly.
      grids: points to read at, normalised ``(x, y)`` or ``(x, y, z)``; they may lie anywhere, also outside.
      interpolation: ``bilinear`` between the nearest 2**n pixels, or ``nearest`` (halves go to the even index).
      padding: values outside the image: ``constant`` for ``fill``, or ``border`` for the nearest pixel.
      fill: brightness outside the image, in the units of the images. If the background of the images is not 0, for
        example after normalisation to zero mean, give its value, so that the image has no visible edge.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.

    Raises:
      ValueError: grids whose coordinates or number do not match the images; images of integers; an unknown name.
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
        # Beyond one pixel outside there is only padding; NaN is sent there too.
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
    fractions = [(i - low)[..., None] for i, low in zip(indices, lower, strict=True)]
    steps = [stride if side > 1 else 0 for stride, side in zip(strides, sides, strict=True)]

    def corner(upper: tuple[int, ...]) -> Array:
        weights = (p if up else 1 - p for up, p in zip(upper, fractions, strict=True))
        offset = sum(up * step for up, step in zip(upper, steps, strict=True))
        return functools.reduce(operator.mul, weights) * read(lower, offset)

    return functools.reduce(operator.add, map(corner, itertools.product((0, 1), repeat=len(lengths))))


def _check(images: Array, grids: Array, interpolation: str, padding: str) -> None:
    axes = images.ndim - 2
    if (len(grids), grids.shape[-1]) != (len(images), axes):
        counts = f"{len(grids)} grids of {grids.shape[-1]} coordinates for {len(images)} images of {axes} axes"
        raise ValueError(f"{counts}: must be one grid for each image and one coordinate for each axis")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images of type {images.dtype}: must be floating-point numbers")
    for kind, name, known in (("interpolation", interpolation, Interpolation), ("padding", padding, Padding)):
        check_name(kind, name, get_args(known))


def _surround(images: Array, fill: Fill) -> Array:
    """Pad the images with a margin of one pixel of the fill."""
    fill = jnp.asarray(fill, images.dtype)
    if not fill.ndim:
        return jnp.pad(images, [(0, 0), *[(1, 1)] * (images.ndim - 2), (0, 0)], constant_values=fill)
    shape = [images.shape[0], *[length + 2 for length in images.shape[1:-1]], images.shape[-1]]
    canvas = jnp.broadcast_to(fill.reshape([1] * (images.ndim - 1) + [-1]), shape)
    return jax.lax.dynamic_update_slice(canvas, images, (0, *[1] * (images.ndim - 2), 0))


def project(
    volumes: Float[Array, "*batch D H W C"], axis: Literal[0, 1, 2] = 0
) -> Float[Array, "*batch rows columns C"]:
    """Project volumes to images by summing along one axis (Jaderberg et al. 2015, appendix, 3-D transformers).

    Args:
      volumes: one volume, or several with leading axes, such as `sample` returns.
      axis: 0 to sum along z, 1 along y, 2 along x.
    """
    return volumes.sum(axis=axis - 4)
