"""Families of transformations by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from common.geometry.grids import regular_grid
from stn.grids import affine_grid
from stn.samplers import sample
from stn.transforms import make_transform

COUNTS = {"translation": 2, "attention": 3, "rotated_attention": 4, "affine": 6, "projective": 8, "tps": 2 * 9}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", COUNTS)
def test_identity_parameters_give_the_regular_grid(name, align_corners):
    transform = make_transform(name, 5, 8, control=3, align_corners=align_corners)
    assert transform.identity.shape == (COUNTS[name],)
    grid = jax.jit(transform.grid)(jnp.asarray(transform.identity, jnp.float32))
    np.testing.assert_allclose(grid, regular_grid(5, 8, align_corners), atol=1e-6)
    image = np.random.default_rng(0).uniform(size=(1, 5, 8, 2)).astype(np.float32)
    read = jax.jit(functools.partial(sample, align_corners=align_corners))
    np.testing.assert_array_equal(read(image, grid[None]), image)


def test_translations_have_a_fixed_scale():
    transform = make_transform("translation", 4, 6, scale=(0.5, 0.25))
    expected = affine_grid(jnp.array([[0.5, 0, 0.1], [0, 0.25, -0.3]]), 4, 6)
    np.testing.assert_allclose(transform.grid(jnp.array([0.1, -0.3])), expected, atol=1e-6)


def test_a_moved_control_point_moves_the_grid_near_it():
    """Moving the upper right one to the left moves the points near the upper right corner to the left."""
    transform = make_transform("tps", 20, 20, control=2)
    theta = jnp.asarray(transform.identity, jnp.float32).reshape(4, 2)
    np.testing.assert_array_equal(theta, [[-1, -1], [1, -1], [-1, 1], [1, 1]])
    moved = transform.grid(theta.at[1, 0].add(-0.5).ravel()) - regular_grid(20, 20).astype(np.float32)
    assert moved[0, -1, 0] < -0.4 and abs(moved[0, 0, 0]) < 0.1 and np.abs(moved[..., 1]).max() < 1e-6


def test_regularised_splines_bend_less():
    theta = jnp.asarray(np.random.default_rng(0).normal(size=32), jnp.float32)
    stiff, soft = (make_transform("tps", 9, 9, regularisation=r).grid(theta) for r in (10.0, 0.0))
    # Second differences along x.
    bend = [np.abs(np.diff(np.asarray(grid), 2, axis=1)).mean() for grid in (stiff, soft)]
    assert bend[0] < 0.2 * bend[1]


@pytest.mark.parametrize("padding, align_corners", [("constant", False), ("border", True)])
@pytest.mark.parametrize("name", COUNTS)
def test_gradients_to_image_and_parameters_equal_finite_differences(name, padding, align_corners, x64):
    rng = np.random.default_rng(1)
    transform = make_transform(name, 5, 6, control=3, align_corners=align_corners)
    # Some points lie outside, and none at the centre of a pixel, where the gradient is not continuous.
    theta = jnp.asarray(1.1 * transform.identity + rng.uniform(-0.1, 0.1, transform.identity.shape))
    image = jnp.asarray(rng.uniform(size=(7, 9, 2)))

    def seen(theta, image):
        grid = transform.grid(theta)[None]
        return sample(image[None], grid, padding=padding, fill=0.3, align_corners=align_corners)

    check_grads(jax.jit(seen), (theta, image), order=1, modes=["rev"], eps=1e-6)


def test_rows_and_columns_of_control_points_can_differ():
    """A spline passes through its control points, which here are the pixels of the output."""
    transform = make_transform("tps", 3, 2, control=(3, 2), align_corners=True)
    theta = transform.identity + np.random.default_rng(0).normal(0, 0.2, 12)
    np.testing.assert_allclose(transform.grid(jnp.asarray(theta, jnp.float32)), theta.reshape(3, 2, 2), atol=1e-5)


def test_errors_quote_the_bad_value(unchecked):
    with pytest.raises(
        ValueError, match="^unknown transform 'afine': did you mean 'affine'. choose from translation, "
    ):
        make_transform("afine", 4, 4)
