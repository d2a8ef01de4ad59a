"""Sampling grids: the location in the input of each pixel of the output (Jaderberg et al. 2015, section 3.2).

A grid is ``[h, w, 2]``, normalised ``(x, y)``. By default -1 and +1 are the outer edges of the image; with
``align_corners`` they are the centres of its outermost pixels. Every function returns the grid of one image.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.geometry.grids import centres, regular_grid

# Points whose depth is below this, near the horizon of a projective map or beyond, go to OUTSIDE in x and y.
NEAREST, OUTSIDE = 1e-3, 1e3


def _axes(like: Array, *lengths: int, align_corners: bool) -> list[Array]:
    """Return the coordinates of a regular grid, x first, each with one axis longer than 1."""
    axes = [jnp.asarray(centres(length, align_corners), like.dtype) for length in lengths]
    return [axis.reshape([-1 if i == j else 1 for j in range(len(axes))]) for i, axis in enumerate(axes)][::-1]


def _combine(rows: Array, axes: list[Array]) -> list[Array]:
    """Compute ``row @ (x, y, ..., 1)`` for each row; accelerators would round a matrix product."""
    return [sum((row[i] * axis for i, axis in enumerate(axes)), start=row[-1]) for row in rows]


def attention_matrix(theta: Float[Array, "3"]) -> Float[Array, "2 3"]:
    """Return the affine map of attention ``(scale, x, y)``: an isotropic scale and a centre (equation 2).

    A scale below 1 zooms in. It is isotropic in normalised coordinates, hence also in pixels if the output has the
    shape of the input.
    """
    scale, x, y = theta
    zero = jnp.zeros_like(scale)
    return jnp.stack([scale, zero, x, zero, scale, y]).reshape(2, 3)


def rotated_attention_matrix(theta: Float[Array, "4"]) -> Float[Array, "2 3"]:
    """Return the affine map of attention with rotation: ``(scale, angle, x, y)``, the angle in radians from x to y.

    It acts on normalised coordinates, so on images that are not square it also shears.
    """
    scale, angle, x, y = theta
    cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
    return jnp.stack([cos, -sin, x, sin, cos, y]).reshape(2, 3)


def affine_grid(
    theta: Float[Array, "2 3"], height: int, width: int, align_corners: bool = False
) -> Float[Array, "{height} {width} 2"]:
    """Return the grid of an affine map (equation 1): output ``(x, y)`` is read at ``theta @ (x, y, 1)``.

    Args:
      theta: the map, in normalised coordinates.
      height: rows of the output.
      width: columns of the output.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.
    """
    axes = _axes(theta, height, width, align_corners=align_corners)
    return jnp.stack(_combine(theta, axes), axis=-1)


def projective_grid(
    theta: Float[Array, "8"], height: int, width: int, align_corners: bool = False
) -> Float[Array, "{height} {width} 2"]:
    """Return the grid of a projective map, a 3x3 matrix given row by row without its last entry, which is 1.

    Points beyond the horizon of the map are read far outside the image and have no gradient.

    Args:
      theta: the matrix without its last entry, in normalised coordinates.
      height: rows of the output.
      width: columns of the output.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.
    """
    matrix = jnp.append(theta, jnp.ones((1,), theta.dtype)).reshape(3, 3)
    x, y, depth = _combine(matrix, _axes(theta, height, width, align_corners=align_corners))
    shown = depth >= NEAREST
    # Divided by 1 where it is not used, so that its gradient is 0 and not infinite times 0.
    near = jnp.where(shown, depth, 1.0)
    return jnp.stack([jnp.where(shown, one / near, OUTSIDE) for one in (x, y)], axis=-1)


def thin_plate_grid(
    theta: Float[Array, "K 2"],
    control: Float[np.ndarray, "K 2"],
    basis: Float[np.ndarray, "h w K"],
    align_corners: bool = False,
) -> Float[Array, "h w 2"]:
    """Return the grid of a thin-plate spline: the output at control point k is read at ``theta[k]``.

    Args:
      theta: location in the input of each control point, normalised.
      control: the control points, normalised locations in the output.
      basis: their basis, from `common.geometry.grids.spline_basis`.
      align_corners: as given to `common.geometry.grids.spline_basis`.
    """
    height, width, _ = basis.shape
    # A spline of the displacements is exact where nothing is displaced.
    moved = theta - jnp.asarray(control, theta.dtype)
    shift = jnp.einsum("hwk,kd->hwd", jnp.asarray(basis, theta.dtype), moved, precision="highest")
    return jnp.asarray(regular_grid(height, width, align_corners), theta.dtype) + shift


def affine_grid_3d(
    theta: Float[Array, "3 4"], depth: int, height: int, width: int, align_corners: bool = False
) -> Float[Array, "{depth} {height} {width} 3"]:
    """Return the grid of an affine map of volumes: output ``(x, y, z)`` is read at ``theta @ (x, y, z, 1)``.

    Args:
      theta: the map, in normalised coordinates.
      depth: slices of the output, along z.
      height: rows of the output, along y.
      width: columns of the output, along x.
      align_corners: whether -1 and +1 are the centres of the outermost voxels.
    """
    axes = _axes(theta, depth, height, width, align_corners=align_corners)
    return jnp.stack(_combine(theta, axes), axis=-1)
