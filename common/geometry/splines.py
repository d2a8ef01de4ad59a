"""Thin-plate splines: smooth maps of the plane through given points."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator


def thin_plate_basis(
    control: Float[np.ndarray, "K 2"], points: Float[np.ndarray, "N 2"], regularisation: float = 0.0
) -> Float[np.ndarray, "N K"]:
    """What a thin-plate spline makes, at some points, of each value at its control points (Bookstein 1989).

    The spline is linear in those values, so the linear system is solved here, once and in double precision, and each
    later use is a matrix product: ``basis @ values``. Affine functions are reproduced whatever the regularisation, so
    each row sums to 1.

    Args:
      control: where the values are given, not all on one line.
      points: where the spline is wanted.
      regularisation: 0 to interpolate; above it, 8 pi times the weight of the bending energy beside the sum of squared
        misfits (Wahba 1990, section 2.4), with which values are only approximated.

    Raises:
      ValueError: the control points repeat, or lie on one line, or the regularisation is negative.
    """
    control, points = np.asarray(control, np.float64), np.asarray(points, np.float64)
    count = len(control)
    if not 0 <= regularisation < np.inf:
        raise ValueError(f"regularisation {regularisation}: must be 0 or more, and finite")
    if count < 3 or np.linalg.matrix_rank(control - control[0]) < 2:
        raise ValueError(f"{count} control points: a thin-plate spline needs at least 3 that are not on one line")
    if len(np.unique(control, axis=0)) < count:
        raise ValueError(f"{count} control points: some are the same")
    return RBFInterpolator(control, np.eye(count), smoothing=regularisation, kernel="thin_plate_spline")(points)
