"""Thin-plate splines: smooth maps of the plane through given points."""

import numpy as np
import scipy
from jaxtyping import Float


def thin_plate_basis(
    control: Float[np.ndarray, "K 2"], points: Float[np.ndarray, "N 2"], regularisation: float = 0.0
) -> Float[np.ndarray, "N K"]:
    """Return the weight of each control value in a thin-plate spline at given points (Bookstein 1989).

    The spline is linear in the values, so its linear system is solved here, once and in double precision; the spline is
    then ``basis @ values``. Affine functions are reproduced for every regularisation, so each row sums to 1.

    Args:
      control: the control points, at least 3, different and not all on one line.
      points: the points at which the spline is evaluated.
      regularisation: 0 to interpolate; otherwise 8 pi times the weight of the bending energy relative to the sum of
        squared errors (Wahba 1990, section 2.4), and the values are approximated.
    """
    control, points = np.asarray(control, np.float64), np.asarray(points, np.float64)
    identity, kernel = np.eye(len(control)), "thin_plate_spline"
    return scipy.interpolate.RBFInterpolator(control, identity, smoothing=regularisation, kernel=kernel)(points)
