"""Warps in integer arithmetic: rotated, projected and deformed images with the same bits on every machine.

Floating-point geometry rounds differently on different processors, and one pixel on the other side of a rounding border
would change the digest of a fixed split. Here coordinates, in 1/256 of a pixel, and everything computed from them are
integers. Sines, splines and so on are tables that the host computes in double precision and rounds.

A map is `[H, W, 2]`: for each output pixel, the (x, y) of the input that it shows, where the centre of pixel (row 0,
column 0) is at 0. All functions make one image; `jax.vmap` makes batches. Images have at most 35 pixels a side, so that
all intermediate values fit in 32 bits.
"""

import functools

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Int, Int32, UInt8

from common.geometry.grids import spline_basis

MAX_SIDE = 35
PIXEL = 256  # Coordinates: 1 pixel.
UNIT = 2**14  # Factors such as sines, scales and spline weights: 1.
CORNER = 8  # Corners of a quadrilateral: 1 pixel.


@functools.cache
def normal_table(deviation: float, size: int = 4096) -> Int32[np.ndarray, " {size}"]:
    """Return a table of ``size`` quantiles of a normal distribution, rounded to integers.

    A uniformly drawn entry is a normal variable of that standard deviation, truncated at 3.7 deviations.
    """
    probabilities = (np.arange(size) + 0.5) / size
    return np.rint(deviation * scipy.special.ndtri(probabilities)).astype(np.int32)


@functools.cache
def turn_table(most: int) -> Int32[np.ndarray, "angles 2"]:
    """Return cosine and sine, times `UNIT`, of the angles from ``-most`` to ``most`` tenths of a degree."""
    angles = np.deg2rad(np.arange(-most, most + 1) / 10)
    return np.rint(UNIT * np.stack([np.cos(angles), np.sin(angles)], axis=-1)).astype(np.int32)


@functools.cache
def inverse_table(least: int, most: int) -> Int32[np.ndarray, " scales"]:
    """Return 1 / scale, times `UNIT`, of the scales from ``least`` to ``most`` thousandths."""
    return np.rint(1000 * UNIT / np.arange(least, most + 1)).astype(np.int32)


@functools.cache
def spline_table(height: int, width: int, control: int) -> Int32[np.ndarray, "H W K"]:
    """Return the displacement, times `UNIT`, of each pixel centre by a unit displacement of each control point.

    The control points of the thin-plate spline are a grid of ``control x control`` over the image, with its corners.
    """
    return np.rint(UNIT * spline_basis(control, control, height, width)).astype(np.int32)


def _divide(value: Array, unit: int) -> Array:
    """Return ``value / unit``, rounded half up; ``unit`` is a power of two."""
    return (value + unit // 2) >> (unit.bit_length() - 1)


def _from_centre(height: int, width: int, unit: int) -> Int32[np.ndarray, "{height} {width} 2"]:
    """Return (x, y) of the pixel centres, relative to the centre of the image; a pixel is ``unit``, an even number."""
    x = unit * np.arange(width) - unit // 2 * (width - 1)
    y = unit * np.arange(height) - unit // 2 * (height - 1)
    return np.stack(np.meshgrid(x, y), axis=-1).astype(np.int32)


def _to_corner(points: Array, height: int, width: int) -> Array:
    """Change the origin from the centre of an image to the centre of its first pixel."""
    return points + np.array([[[width - 1, height - 1]]], np.int32) * (PIXEL // 2)


def affine_map(
    turn: Int[Array, "2"],
    inverse: Int[Array, ""],
    shift: Int[Array, "2"],
    size: tuple[int, int],
    canvas: tuple[int, int],
) -> Int32[Array, "H W 2"]:
    """Return the map of an image that is rotated about its centre, scaled, and placed on a canvas.

    Args:
      turn: int32 `[2]`: cosine and sine of the angle, times `UNIT`.
      inverse: int32 `[]`: 1 / scale, times `UNIT`, of scales not below 0.5.
      shift: int32 `[2]`: (x, y) from the canvas's centre to the image's, in 1/256 pixel.
      size: rows and columns of the image.
      canvas: H and W of the canvas.
    """
    offset = _from_centre(*canvas, PIXEL) - shift[None, None]
    cos, sin = _divide(turn * inverse, UNIT)
    x, y = offset[..., 0], offset[..., 1]
    rotated = jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return _to_corner(_divide(rotated, UNIT), *size)


def elastic_map(
    displacements: Int[Array, "K 2"], inverse: Int[Array, ""], height: int, width: int
) -> Int32[Array, "{height} {width} 2"]:
    """Return the map of an image that is scaled about its centre and deformed by a thin-plate spline.

    Args:
      displacements: int32 `[K, 2]`: (x, y) displacement of each of K control points, a square grid over the image, in
        1/256 pixel, at most 15 pixels.
      inverse: int32 `[]`: 1 / scale, times `UNIT`.
      height: rows of the image.
      width: columns of the image.
    """
    table = jnp.asarray(spline_table(height, width, round(len(displacements) ** 0.5)))
    points = jnp.asarray(_from_centre(height, width, PIXEL))
    deformed = points + _divide(jnp.einsum("hwk,kd->hwd", table, displacements), UNIT)
    return _to_corner(_divide(deformed * inverse, UNIT), height, width)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def quadrilateral_weights(corners: Int[Array, "4 2"]) -> Int32[Array, "4"]:
    """Return, for each corner, twice the signed area of the triangle of the other three; all positive if convex.

    Args:
      corners: int32 `[4, 2]`: (x, y) of the upper left, upper right, lower right and lower left corner.
    """
    triangles = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    a, b, c = (corners[triangles[:, i]] for i in range(3))
    return _cross(b - a, c - a)


def projective_map(corners: Int[Array, "4 2"], height: int, width: int) -> Int32[Array, "{height} {width} 2"]:
    """Return the map of an image in perspective with the given corners; outside them it points outside the image.

    With ``w`` the weights of `quadrilateral_weights`, and ``left`` and ``right`` the distances of a point from the
    sides (times the lengths of these sides), the point shows the image at a fraction ``u`` of its width, where
    ``u : 1 - u = left * w0 * w3 : right * w1 * w2``; likewise for its height. This is the projective map from the
    corners of the image to those of the quadrilateral (Heckbert 1989, section 2.2.3), without its matrix.

    Args:
      corners: int32 `[4, 2]`: relative to the centre of the image, in 1/8 pixel; a convex quadrilateral, ordered as for
        `quadrilateral_weights`.
      height: rows of the image, and of the output.
      width: columns.
    """
    points = jnp.asarray(_from_centre(height, width, CORNER))
    weights = quadrilateral_weights(corners)
    # Reduce to at most 15 bits, so that products have 30.
    bits = 15 + np.arange(8)
    weights = weights >> (weights.max() >> bits > 0).sum().astype(jnp.int32)

    def distance(start: int, end: int) -> Array:
        """Return the distance from a side, positive inside, times the length of the side."""
        return _cross((corners[end] - corners[start])[None, None], points - corners[start][None, None])

    def fraction(before: Array, after: Array, near: tuple[int, int], far: tuple[int, int]) -> tuple[Array, Array]:
        """Return the fraction of the way between two sides, times 2**13, and whether the point is between them."""
        ahead, behind = weights[near[0]] * weights[near[1]], weights[far[0]] * weights[far[1]]
        weight = ahead // jnp.maximum((ahead + behind) >> 13, 1)
        inside = (before >= 0) & (after >= 0)
        one = (jnp.where(inside, before, 0) >> 3) * weight
        other = (jnp.where(inside, after, 0) >> 3) * (2**13 - weight)
        return one // jnp.maximum((one + other) >> 13, 1), inside

    u, between = fraction(distance(3, 0), distance(1, 2), (0, 3), (1, 2))
    v, inside = fraction(distance(0, 1), distance(2, 3), (0, 1), (2, 3))
    extent = np.array([[[width, height]]], np.int32) * PIXEL
    shown = _divide(jnp.minimum(jnp.stack([u, v], axis=-1), 2**13) * extent, 2**13) - PIXEL // 2
    return jnp.where((between & inside)[..., None], shown, -4 * PIXEL)


def resample(image: UInt8[Array, "h w C"], points: Int32[Array, "H W 2"]) -> UInt8[Array, "H W C"]:
    """Sample an image bilinearly at the points of a map, with zeros outside; halves of a level are rounded up.

    Args:
      image: uint8 `[h, w, C]`.
      points: int32 `[H, W, 2]`: (x, y), in 1/256 pixel.
    """
    height, width, channels = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    limits = np.array([[[width, height]]], np.int32)
    # One pixel outside the image everything is zero.
    points = jnp.clip(points, -PIXEL, limits * PIXEL) + PIXEL
    first = jnp.minimum(points // PIXEL, limits)
    fraction = points - first * PIXEL
    pixels = padded.reshape(-1, channels)
    flat = first[..., 1] * (width + 2) + first[..., 0]

    def row(offset: int) -> Array:
        left, right = (
            pixels.at[flat + offset + side].get(mode="promise_in_bounds").astype(jnp.int32) for side in (0, 1)
        )
        return left * (PIXEL - fraction[..., :1]) + right * fraction[..., :1]

    total = row(0) * (PIXEL - fraction[..., 1:]) + row(width + 2) * fraction[..., 1:]
    return _divide(total, PIXEL**2).astype(jnp.uint8)
