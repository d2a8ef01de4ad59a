"""Regular grids over an image, and the thin-plate splines between them; in double precision, on the host.

Points are normalised ``(x, y)``: -1 and +1 are the outer edges of the image or, with ``align_corners``, the centres of
its outermost pixels.
"""

import functools

import numpy as np
from jaxtyping import Float

from common.geometry.splines import thin_plate_basis


def centres(length: int, align_corners: bool = False) -> Float[np.ndarray, " {length}"]:
    """Return the normalised coordinates of the pixel centres along an axis; a single pixel is at 0."""
    steps = 2.0 * np.arange(length) + 1 - length
    return steps / max(length - 1, 1) if align_corners else steps / length


def regular_grid(height: int, width: int, align_corners: bool = False) -> Float[np.ndarray, "{height} {width} 2"]:
    """Return the pixel centres of an image, which are the sampling grid of the identity."""
    x, y = np.meshgrid(centres(width, align_corners), centres(height, align_corners))
    return np.stack([x, y], axis=-1)


def control_grid(rows: int, columns: int) -> Float[np.ndarray, "K 2"]:
    """Return a regular grid of K = rows * columns control points over the whole image, including its corners.

    Args:
      rows: rows of the grid, at least 2.
      columns: columns of the grid, at least 2.
    """
    return regular_grid(rows, columns, align_corners=True).reshape(-1, 2)


@functools.cache
def spline_basis(
    rows: int, columns: int, height: int, width: int, regularisation: float = 0.0, align_corners: bool = False
) -> Float[np.ndarray, "{height} {width} K"]:
    """Return the weight of each point of a `control_grid` at each pixel centre; computed once and cached.

    Args:
      rows: rows of the control grid, at least 2.
      columns: columns of the control grid, at least 2.
      height: rows of the image.
      width: columns of the image.
      regularisation: see `common.geometry.splines.thin_plate_basis`.
      align_corners: convention of the pixel coordinates; the control grid always covers [-1, 1].

    Returns:
      The basis, read-only.
    """
    points = regular_grid(height, width, align_corners).reshape(-1, 2)
    basis = thin_plate_basis(control_grid(rows, columns), points, regularisation).reshape(height, width, -1)
    basis.setflags(write=False)
    return basis
