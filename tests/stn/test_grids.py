"""Grids against PyTorch, SciPy, NumPy and known maps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from common.geometry.grids import centres, control_grid, regular_grid, spline_basis
from common.geometry.splines import thin_plate_basis
from stn import grids

RNG = np.random.default_rng(0)
IDENTITY = np.eye(2, 3, dtype=np.float32)
AFFINE = jax.jit(grids.affine_grid, static_argnums=(1, 2, 3))
PROJECTIVE = jax.jit(grids.projective_grid, static_argnums=(1, 2, 3))


# One row of pixels has no corners to align, and PyTorch warns about it.
@pytest.mark.parametrize(("height", "width", "align_corners"), [(5, 7, False), (5, 7, True), (1, 6, False)])
def test_affine_equals_pytorch(height, width, align_corners):
    torch = pytest.importorskip("torch")
    theta = RNG.normal(size=(3, 2, 3)).astype(np.float32)
    size = [3, 1, height, width]
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), size, align_corners=align_corners)
    actual = [AFFINE(jnp.asarray(one), height, width, align_corners) for one in theta]
    np.testing.assert_allclose(np.stack(actual), expected, atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_affine_3d_equals_pytorch(align_corners):
    torch = pytest.importorskip("torch")
    theta = RNG.normal(size=(1, 3, 4)).astype(np.float32)
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), [1, 1, 3, 5, 4], align_corners=align_corners)
    actual = grids.affine_grid_3d(jnp.asarray(theta[0]), 3, 5, 4, align_corners)
    np.testing.assert_allclose(actual, expected[0], atol=1e-6)


def test_centres_by_hand():
    np.testing.assert_allclose(centres(4), [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(centres(3, align_corners=True), [-1, 0, 1])
    np.testing.assert_allclose([centres(1), centres(1, align_corners=True)], 0)
    grid = regular_grid(2, 4)
    assert grid.shape == (2, 4, 2)
    np.testing.assert_allclose(grid[1, 0], [-0.75, 0.5])


def test_attention_scales_about_a_centre():
    grid = grids.affine_grid(grids.attention_matrix(jnp.array([0.5, 0.25, -0.5])), 6, 8)
    expected = 0.5 * regular_grid(6, 8) + [0.25, -0.5]
    np.testing.assert_allclose(grid, expected, atol=1e-6)


def test_rotated_attention_turns_x_towards_y():
    quarter = grids.rotated_attention_matrix(jnp.array([2.0, np.pi / 2, 0.1, 0.2]))
    np.testing.assert_allclose(quarter, [[0, -2, 0.1], [2, 0, 0.2]], atol=1e-6)
    still = grids.rotated_attention_matrix(jnp.array([0.7, 0.0, 0.3, -0.2]))
    np.testing.assert_allclose(still, grids.attention_matrix(jnp.array([0.7, 0.3, -0.2])))


def test_projective_equals_homogeneous_coordinates():
    theta = np.append(np.eye(3).ravel()[:8] + 0.2 * RNG.normal(size=8), 1).reshape(3, 3)
    points = np.concatenate([regular_grid(5, 6), np.ones((5, 6, 1))], axis=-1) @ theta.T
    assert points[..., 2].min() > 0
    actual = grids.projective_grid(jnp.asarray(theta.ravel()[:8], jnp.float32), 5, 6)
    np.testing.assert_allclose(actual, points[..., :2] / points[..., 2:], atol=1e-5)


def test_projective_without_perspective_is_affine():
    matrix = RNG.normal(size=(2, 3)).astype(np.float32)
    theta = jnp.append(jnp.asarray(matrix).ravel(), jnp.zeros(2))
    np.testing.assert_allclose(
        grids.projective_grid(theta, 4, 3), grids.affine_grid(jnp.asarray(matrix), 4, 3), atol=1e-6
    )


def test_points_beyond_the_horizon_are_outside_the_image():
    """Points behind the horizon x = -0.5 of a strong perspective are read outside, with finite gradients."""
    theta = jnp.array([1.0, 0, 0.1, 0, 1, 0, 2, 0])
    grid = PROJECTIVE(theta, 4, 8)
    assert (np.abs(grid[:, :2]).max(axis=-1) > 1).all()
    jacobian = jax.jit(jax.jacobian(lambda t: grids.projective_grid(t, 4, 8)))(theta)
    chex.assert_tree_all_finite((grid, jacobian))


def test_points_straight_behind_the_horizon_are_outside_the_image():
    """Without the check of depth they would be read in the middle of the image."""
    theta = jnp.array([1.0, 0, 0.75, 0, 1, 0, 2, 0])
    grid = PROJECTIVE(theta, 1, 8)
    behind = 2 * centres(8) + 1 < 0
    assert behind[1] and abs(centres(8)[1] + 0.75) < 0.2
    assert (np.abs(grid[0, behind]) > 1).all() and (np.abs(grid[0, ~behind, 1]) < 1e-6).all()
    jacobian = jax.jit(jax.jacobian(lambda t: grids.projective_grid(t, 1, 8)))(theta)
    chex.assert_tree_all_finite(jacobian)
    assert not jacobian[0, behind].any()


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("regularisation", [0.0, 0.1])
def test_thin_plate_equals_scipy(regularisation, align_corners, x64):
    control = RNG.uniform(-1, 1, (7, 2))
    theta = control + 0.2 * RNG.normal(size=(7, 2))
    spline = RBFInterpolator(control, theta, smoothing=regularisation, kernel="thin_plate_spline")
    expected = spline(regular_grid(5, 6, align_corners).reshape(-1, 2)).reshape(5, 6, 2)
    points = regular_grid(5, 6, align_corners).reshape(-1, 2)
    basis = thin_plate_basis(control, points, regularisation).reshape(5, 6, 7)
    actual = grids.thin_plate_grid(jnp.asarray(theta), control, basis, align_corners)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_a_thin_plate_spline_passes_through_its_control_points():
    control = control_grid(3, 4)
    theta = (control + 0.1 * RNG.normal(size=control.shape)).astype(np.float32)
    # With corners aligned, a grid of 3x4 pixels has its centres on the control points.
    basis = spline_basis(3, 4, 3, 4, align_corners=True)
    actual = grids.thin_plate_grid(jnp.asarray(theta), control, basis, align_corners=True)
    np.testing.assert_allclose(actual.reshape(-1, 2), theta, atol=1e-6)


def test_identities_are_the_regular_grid():
    expected = regular_grid(9, 7).astype(np.float32)
    control = control_grid(4, 4)
    actual = {
        "affine": grids.affine_grid(jnp.asarray(IDENTITY), 9, 7),
        "projective": grids.projective_grid(jnp.asarray(np.eye(3, dtype=np.float32).ravel()[:8]), 9, 7),
        "tps": grids.thin_plate_grid(jnp.asarray(control, jnp.float32), control, spline_basis(4, 4, 9, 7)),
    }
    for name, grid in actual.items():
        np.testing.assert_array_equal(grid, expected, err_msg=name)


def test_gradients_equal_finite_differences(x64):
    control = control_grid(2, 3)
    basis = spline_basis(2, 3, 3, 4)
    cases = {
        "affine": (lambda t: grids.affine_grid(t.reshape(2, 3), 3, 4), RNG.normal(size=6)),
        "attention": (lambda t: grids.affine_grid(grids.attention_matrix(t), 3, 4), RNG.normal(size=3)),
        "rotation": (lambda t: grids.affine_grid(grids.rotated_attention_matrix(t), 3, 4), RNG.normal(size=4)),
        "projective": (lambda t: grids.projective_grid(t, 3, 4), np.eye(3).ravel()[:8] + 0.1 * RNG.normal(size=8)),
        "tps": (lambda t: grids.thin_plate_grid(t.reshape(6, 2), control, basis), RNG.normal(size=12)),
        "3d": (lambda t: grids.affine_grid_3d(t.reshape(3, 4), 2, 3, 4), RNG.normal(size=12)),
    }
    for name, (function, theta) in cases.items():
        function = jax.jit(function)
        jacobian, step = jax.jit(jax.jacobian(function))(theta), 1e-6
        numeric = np.stack(
            [(function(theta + step * e) - function(theta - step * e)) / (2 * step) for e in np.eye(len(theta))], -1
        )
        np.testing.assert_allclose(jacobian, numeric, atol=1e-8, err_msg=name)
