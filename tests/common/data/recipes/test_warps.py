"""Integer warps against floating-point geometry by NumPy and SciPy, and against exact integer arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats
from scipy.interpolate import RBFInterpolator

from common.data.recipes import warps
from common.data.recipes.warps import CORNER, MAX_SIDE, PIXEL, UNIT
from common.geometry.splines import thin_plate_basis

RNG = np.random.default_rng(0)
SIZES = [(28, 28), (20, 31), (MAX_SIDE, MAX_SIDE)]
RESAMPLE = jax.jit(warps.resample)
WEIGHTS = jax.jit(warps.quadrilateral_weights)
AFFINE = jax.jit(warps.affine_map, static_argnums=(3, 4))
ELASTIC = jax.jit(warps.elastic_map, static_argnums=(2, 3))
PROJECTIVE = jax.jit(warps.projective_map, static_argnums=(1, 2))


def _image(height, width, channels=1):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def _pixels(height, width):
    """Return (x, y) of the pixel centres relative to the centre of an image."""
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    return np.stack([x, y], axis=-1)


def _centre(height, width):
    return np.array([(width - 1) / 2, (height - 1) / 2])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_affine_map_equals_floating_point_geometry(height, width):
    for degrees, scale, shift in [(0, 1, (0, 0)), (37.3, 0.7, (5, -3)), (-90, 1, (0, 0)), (45, 1.2, (-4.5, 4.25))]:
        angle = np.deg2rad(degrees)
        turn = np.rint(UNIT * np.array([np.cos(angle), np.sin(angle)])).astype(np.int32)
        offset = np.rint(PIXEL * np.array(shift)).astype(np.int32)
        points = AFFINE(turn, np.int32(round(UNIT / scale)), offset, (height, width), (42, 50))
        # The output at R s p + shift shows the image at p.
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        expected = (_pixels(42, 50) - shift) @ np.linalg.inv(matrix).T + _centre(height, width)
        np.testing.assert_allclose(points / PIXEL, expected, atol=0.01)


def test_identity_and_rotations_by_90_degrees_are_exact():
    image = _image(28, 28)
    for quarter, turn in enumerate([(UNIT, 0), (0, UNIT), (-UNIT, 0)]):
        points = AFFINE(jnp.array(turn, jnp.int32), np.int32(UNIT), jnp.zeros(2, jnp.int32), (28, 28), (28, 28))
        # A positive angle rotates x towards y: clockwise, because rows go down.
        np.testing.assert_array_equal(RESAMPLE(image, points), np.rot90(image, -quarter))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_elastic_map_equals_scipy(height, width):
    for scale in (0.75, 1.0):
        knots = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), axis=-1).reshape(-1, 2)
        moved = np.clip(RNG.normal(0, 4, (16, 2)), -15, 15)
        moved = np.rint(PIXEL * moved).astype(np.int32)
        extent = np.array([width, height]) / 2
        spline = RBFInterpolator(knots, moved / PIXEL, kernel="thin_plate_spline")
        points = _pixels(height, width)
        bent = points + spline((points / extent).reshape(-1, 2)).reshape(points.shape)
        made = ELASTIC(moved, np.int32(round(UNIT / scale)), height, width)
        np.testing.assert_allclose(made / PIXEL, bent / scale + _centre(height, width), atol=0.02)


def _homography(corners, height, width):
    """Solve for the matrix that maps the corners to those of an image of that size."""
    to = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([width, height]) / 2
    rows = []
    for (x, y), (u, v) in zip(corners, to, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(np.array(rows), to.ravel()), 1).reshape(3, 3)


def _quadrilateral(height, width, deviation):
    while True:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([width, height]) * CORNER // 2
        corners = (corners + np.rint(np.clip(RNG.normal(0, deviation, (4, 2)), -18, 18) * CORNER)).astype(np.int32)
        if (np.asarray(WEIGHTS(corners)) >= height * width * CORNER**2 // 8).all():
            return corners


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_projective_map_equals_a_homography(height, width):
    for deviation in (0, 2, 5, 5, 9, 9, 9):
        corners = _quadrilateral(height, width, deviation)
        made = np.asarray(PROJECTIVE(corners, height, width)) / PIXEL
        points = np.concatenate([_pixels(height, width), np.ones((height, width, 1))], axis=-1)
        shown = points @ _homography(corners / CORNER, height, width).T
        expected = shown[..., :2] / shown[..., 2:] + _centre(height, width)
        sides = np.roll(corners, -1, axis=0) - corners
        offset = _pixels(height, width)[:, :, None] * CORNER - corners
        distance = (sides[:, 0] * offset[..., 1] - sides[:, 1] * offset[..., 0]) / np.linalg.norm(sides, axis=1)
        inside, outside = (distance > 0.1).all(-1), (distance < 0).any(-1)
        assert inside.sum() > height * width / 9
        np.testing.assert_allclose(made[inside], expected[inside], atol=0.08)
        assert (made[outside] == -4).all()


def test_quadrilateral_weights_are_areas_of_triangles():
    square = np.array([[0, 0], [4, 0], [4, 3], [0, 3]], np.int32)
    np.testing.assert_array_equal(WEIGHTS(square), [12, 12, 12, 12])
    concave = np.array([[3, 2], [4, 0], [4, 3], [0, 3]], np.int32)
    assert np.asarray(WEIGHTS(concave)).min() < 0


def test_resampling_equals_exact_integer_arithmetic():
    """Against Python's integers, with points far outside."""
    image = _image(5, 7, 2)
    points = RNG.integers(-3 * PIXEL, 10 * PIXEL, (30, 9, 2), dtype=np.int32)
    points[0] = [
        [-(2**31), 0],
        [2**31 - 1, 2**31 - 1],
        [0, 0],
        [6 * PIXEL, 4 * PIXEL],
        [-256, 0],
        [0, -255],
        [7 * 256, 0],
        [1, 2],
        [3, 4],
    ]

    def pixel(row, column, channel):
        return int(image[row, column, channel]) if 0 <= row < 5 and 0 <= column < 7 else 0

    expected = np.empty((30, 9, 2), np.uint8)
    for index in np.ndindex(30, 9, 2):
        x, y = (int(p) for p in points[index[:2]])
        (column, right), (row, down) = divmod(x, PIXEL), divmod(y, PIXEL)
        total = sum(
            pixel(row + i, column + j, index[2]) * (down if i else PIXEL - down) * (right if j else PIXEL - right)
            for i in (0, 1)
            for j in (0, 1)
        )
        expected[index] = (total + PIXEL**2 // 2) // PIXEL**2
    np.testing.assert_array_equal(RESAMPLE(image, points), expected)


def test_resampling_equals_scipy():
    image, points = _image(9, 8), RNG.uniform(-2, 10, (20, 20, 2))
    points = np.rint(points * PIXEL).astype(np.int32)
    expected = ndimage.map_coordinates(
        image[..., 0].astype(float), np.moveaxis(points[..., ::-1] / PIXEL, -1, 0), order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(np.asarray(RESAMPLE(image, points))[..., 0], expected, atol=0.51)


def test_normal_table_has_quantiles_of_a_normal_distribution():
    table = warps.normal_table(5 * 8.0)
    assert abs(table.mean()) < 0.01 and table.std() == pytest.approx(40, rel=0.01)
    assert stats.kstest(table + RNG.uniform(-0.5, 0.5, table.shape), stats.norm(0, 40).cdf).pvalue > 0.01


def test_tables_are_rounded_far_from_halves():
    """Rounding errors of a sine or of a linear system, which differ between machines, cannot change an entry."""
    centres = (2 * np.arange(28) + 1 - 28) / 28
    points = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    knots = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), axis=-1).reshape(-1, 2)
    quantiles = stats.norm.ppf((np.arange(4096) + 0.5) / 4096)
    angles = np.deg2rad(np.arange(-900, 901) / 10)
    exact = {
        "spline": (UNIT * thin_plate_basis(knots, points), warps.spline_table(28, 28, 4)),
        "cosine": (UNIT * np.cos(angles), warps.turn_table(900)[:, 0]),
        "sine": (UNIT * np.sin(angles), warps.turn_table(900)[:, 1]),
        "scale": (1000 * UNIT / np.arange(700, 1201), warps.inverse_table(700, 1200)),
        "elastic": (1.5 * PIXEL * quantiles, warps.normal_table(1.5 * PIXEL)),
        "projected": (5.0 * CORNER * quantiles, warps.normal_table(5.0 * CORNER)),
    }
    for name, (real, table) in exact.items():
        assert np.abs(real.ravel() - table.ravel()).max() < 0.5 - 1e-6, name
