"""Regular grids over an image, and thin-plate splines between two of them; all in double precision, on the host.

Points are normalised ``(x, y)``: by default -1 and +1 are the outer edges of the image; with ``align_corners`` they are
the centres of its outermost pixels.
"""

import functools

import numpy as np
from jaxtyping import Float

from common.geometry.splines import thin_plate_basis


def centres(length: int, align_corners: bool = False) -> Float[np.ndarray, " {length}"]:
    """Normalised coordinates of the pixel centres along an axis of ``length`` pixels.

    A single pixel is at the centre, 0.
    """
    steps = 2.0 * np.arange(length) + 1 - length
    return steps / max(length - 1, 1) if align_corners else steps / length


def regular_grid(height: int, width: int, align_corners: bool = False) -> Float[np.ndarray, "{height} {width} 2"]:
    """The pixel centres of an image: the grid of the identity."""
    x, y = np.meshgrid(centres(width, align_corners), centres(height, align_corners))
    return np.stack([x, y], axis=-1)


def control_grid(rows: int, columns: int) -> Float[np.ndarray, "K 2"]:
    """Control points in a regular grid over the whole image, its corners among them; K = rows * columns.

    Raises:
      ValueError: fewer than two rows or columns.
    """
    if rows < 2 or columns < 2:
        raise ValueError(f"control grid {rows}x{columns}: must be at least 2x2")
    return regular_grid(rows, columns, align_corners=True).reshape(-1, 2)


@functools.cache
def spline_basis(
    rows: int, columns: int, height: int, width: int, regularisation: float = 0.0, align_corners: bool = False
) -> Float[np.ndarray, "{height} {width} K"]:
    """What each point of a `control_grid` adds at each pixel centre, solved once.

    Args:
      rows: of the control grid.
      columns: of the control grid.
      height: rows of the image.
      width: columns of the image.
      regularisation: see `common.geometry.splines.thin_plate_basis`.
      align_corners: see the module; of the pixels, since the control grid always reaches from -1 to 1.

    Returns:
      The basis, not to be written to: it is kept.

    Raises:
      ValueError: see `control_grid` and `common.geometry.splines.thin_plate_basis`.
    """
    points = regular_grid(height, width, align_corners).reshape(-1, 2)
    basis = thin_plate_basis(control_grid(rows, columns), points, regularisation).reshape(height, width, -1)
    basis.setflags(write=False)
    return basis
