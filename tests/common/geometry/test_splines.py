"""Thin-plate splines against their linear system, and against functions that they must reproduce."""

import numpy as np
import pytest

from common.geometry.splines import thin_plate_basis

RNG = np.random.default_rng(0)
CONTROL, POINTS = RNG.uniform(-1, 1, (9, 2)), RNG.uniform(-1.5, 1.5, (40, 2))


@pytest.mark.parametrize("regularisation", [0.0, 0.01, 3.0])
def test_spline_solves_its_linear_system(regularisation):
    """The spline is a sum of kernels r**2 log r, with weights orthogonal to planes, and of a plane."""

    def kernels(points):
        distances = np.linalg.norm(points[:, None] - CONTROL, axis=-1)
        return distances**2 * np.log(np.where(distances > 0, distances, 1))

    values, plane = RNG.normal(size=(9, 3)), np.column_stack([np.ones(9), CONTROL])
    system = np.block([[kernels(CONTROL) + regularisation * np.eye(9), plane], [plane.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((3, 3))]))
    expected = np.column_stack([kernels(POINTS), np.ones(40), POINTS]) @ weights
    np.testing.assert_allclose(thin_plate_basis(CONTROL, POINTS, regularisation) @ values, expected, atol=1e-9)


def test_spline_interpolates_its_control_points():
    np.testing.assert_allclose(thin_plate_basis(CONTROL, CONTROL), np.eye(9), atol=1e-12)


@pytest.mark.parametrize("regularisation", [0.0, 0.5])
def test_affine_maps_are_reproduced(regularisation):
    matrix, shift = RNG.normal(size=(2, 2)), RNG.normal(size=2)
    basis = thin_plate_basis(CONTROL, POINTS, regularisation)
    np.testing.assert_allclose(basis @ (CONTROL @ matrix + shift), POINTS @ matrix + shift, atol=1e-10)
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-10)


def test_strong_regularisation_gives_the_least_squares_plane():
    values = RNG.normal(size=9)
    plane, *_ = np.linalg.lstsq(np.column_stack([CONTROL, np.ones(9)]), values, rcond=None)
    expected = np.column_stack([POINTS, np.ones(40)]) @ plane
    np.testing.assert_allclose(thin_plate_basis(CONTROL, POINTS, 1e9) @ values, expected, atol=1e-6)
