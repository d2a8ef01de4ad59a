"""Families of transformations by name: their parameters, the identity, and the sampling grid."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.geometry.grids import control_grid, spline_basis
from common.names import check_name
from stn.grids import affine_grid, attention_matrix, projective_grid, rotated_attention_matrix, thin_plate_grid

Name = Literal["translation", "attention", "rotated_attention", "affine", "projective", "tps"]


class Transform(NamedTuple):
    """A family of transformations with P parameters, for outputs of one size.

    Attributes:
      identity: parameters of the identity, ``[P]``; for a translation with a scale, those of the centre.
      grid: ``theta [P] -> grid [h, w, 2]``, normalised.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.
    """

    identity: Float[np.ndarray, " P"]
    grid: Callable[[Float[Array, " P"]], Float[Array, "h w 2"]]
    align_corners: bool = False


def make_transform(
    name: Name,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    control: int | tuple[int, int] = 4,
    regularisation: float = 0.0,
    align_corners: bool = False,
) -> Transform:
    """Make a family of transformations.

    Args:
      name: ``translation`` (x, y), ``attention`` (scale, x, y), ``rotated_attention`` (scale, angle, x, y), ``affine``
        (the 2x3 matrix), ``projective`` (the 3x3 matrix without its last entry) or ``tps`` (the location in the input
        of each control point of a thin-plate spline); matrices row by row.
      height: rows of the output.
      width: columns of the output.
      scale: for translations only: fractions of the input's width and height that the output shows.
      control: for ``tps`` only: control points along each side, or rows and columns of them, at least 2.
      regularisation: for ``tps`` only, 0 or more, see `common.geometry.splines.thin_plate_basis`.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.

    Raises:
      ValueError: an unknown name.
    """
    check_name("transform", name, get_args(Name))

    def affine(matrix: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda theta: affine_grid(matrix(theta), height, width, align_corners)

    family = functools.partial(Transform, align_corners=align_corners)
    if name == "translation":
        sides = np.diag(scale)
        return family(np.zeros(2), affine(lambda theta: jnp.column_stack([jnp.asarray(sides, theta.dtype), theta])))
    if name == "attention":
        return family(np.array([1.0, 0, 0]), affine(attention_matrix))
    if name == "rotated_attention":
        return family(np.array([1.0, 0, 0, 0]), affine(rotated_attention_matrix))
    if name == "affine":
        return family(np.eye(2, 3).ravel(), affine(lambda theta: theta.reshape(2, 3)))
    if name == "projective":
        return family(np.eye(3).ravel()[:8], lambda t: projective_grid(t, height, width, align_corners))
    rows, columns = np.broadcast_to(control, 2).tolist()
    points = control_grid(rows, columns)
    basis = spline_basis(rows, columns, height, width, regularisation, align_corners)
    return family(points.ravel(), lambda t: thin_plate_grid(t.reshape(-1, 2), points, basis, align_corners))
