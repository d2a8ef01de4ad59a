"""The transformer module: alone, in sequence, in parallel, and with pooling."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from stn.localisation import DenseLocalisation
from stn.transformer import SpatialTransformer, in_parallel, in_sequence, pool
from stn.transforms import make_transform

IMAGES = jax.random.uniform(jax.random.key(0), (3, 12, 12, 2))


class Fixed(nn.Module):
    """A localisation network with the same parameters for every image."""

    parameters: tuple[float, ...]

    @nn.compact
    def __call__(self, images):
        return jnp.tile(jnp.array(self.parameters), (len(images), 1))


def _fixed(*parameters, size=(12, 12), name="attention", **kwargs):
    return SpatialTransformer(Fixed(parameters), make_transform(name, *size), **kwargs)


def _apply(module, images):
    return jax.jit(module.apply)({}, images)


class Several(nn.Module):
    """Transformers joined by a function."""

    join: Callable
    transformers: tuple

    def __call__(self, images):
        return self.join(self.transformers, images)


def test_a_fresh_transformer_is_the_identity():
    transform = make_transform("affine", 12, 12)
    module = SpatialTransformer(DenseLocalisation(tuple(transform.identity.tolist()), parent=None), transform)
    params = jax.jit(module.init)(jax.random.key(1), IMAGES)
    assert list(params["params"]) == ["localisation"]
    output = jax.jit(module.apply)(params, IMAGES)
    np.testing.assert_array_equal(output.images, IMAGES)
    assert output.parameters.shape == (3, 6) and output.grids.shape == (3, 12, 12, 2)


def test_a_transformer_reads_the_image_at_its_grid():
    module = _fixed(0.5, 0.1, -0.2, size=(5, 7), padding="border")
    output = _apply(module, IMAGES)
    np.testing.assert_allclose(output.grids[0, 2, 3], [0.1, -0.2], atol=1e-6)
    # Half of the image, moved, at the centres of 5x7 pixels.
    columns = ((np.arange(7) + 0.5) / 7 * 2 - 1) * 0.5 + 0.1
    rows = ((np.arange(5) + 0.5) / 5 * 2 - 1) * 0.5 - 0.2
    places = [(along + 1) / 2 * 12 - 0.5 for along in np.meshgrid(rows, columns, indexing="ij")]
    for image, seen in zip(np.asarray(IMAGES), output.images, strict=True):
        for channel in range(2):
            expected = map_coordinates(image[..., channel], places, order=1, mode="nearest")
            np.testing.assert_allclose(seen[..., channel], expected, atol=1e-5)


def test_a_sequence_composes_its_transformers():
    """Half of half of the image is a quarter of it; in whole pixels, so that nothing is blurred."""
    halves = _fixed(0.5, 0.5, 0.5, size=(6, 6)), _fixed(0.5, -0.5, 0.5, size=(3, 3))
    seen, outputs = _apply(Several(in_sequence, halves), IMAGES)
    np.testing.assert_array_equal(seen, IMAGES[:, 9:, 6:9])
    np.testing.assert_array_equal(outputs[0].images, IMAGES[:, 6:, 6:])
    assert len(outputs) == 2
    # The origins are the centres of pixels 9, 10, 11 of the rows and 6, 7, 8 of the columns.
    middle = (np.arange(12) + 0.5) / 6 - 1
    expected = np.stack(np.meshgrid(middle[6:9], middle[9:]), axis=-1)
    np.testing.assert_allclose(outputs[1].origins[0], expected, atol=1e-6)
    np.testing.assert_array_equal(outputs[0].origins, outputs[0].grids)


def test_origins_outside_an_earlier_output_are_at_its_edge():
    half, outside = _fixed(0.5, 0.5, 0.0, size=(6, 6)), _fixed(1.0, -2.0, 0.0, size=(6, 6))
    _, outputs = _apply(Several(in_sequence, (half, outside)), IMAGES)
    np.testing.assert_allclose(outputs[1].origins[0, :, 0, 0], 1 / 12, atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", ["attention", "affine", "projective"])
def test_a_transformer_has_the_coordinates_of_its_transform(name, align_corners):
    transform = make_transform(name, 12, 12, align_corners=align_corners)
    module = SpatialTransformer(Fixed(tuple(transform.identity.tolist())), transform)
    np.testing.assert_array_equal(_apply(module, IMAGES).images, IMAGES)


def test_parallel_branches_read_all_channels_and_are_joined():
    branches = (_fixed(0.5, -0.5, -0.5, size=(6, 6)),), (_fixed(0.5, 0.5, 0.5, size=(6, 6)),)
    seen, outputs = _apply(Several(in_parallel, branches), IMAGES)
    assert seen.shape == (3, 6, 6, 4) and len(outputs) == 2
    np.testing.assert_array_equal(seen[..., :2], IMAGES[:, :6, :6])
    np.testing.assert_array_equal(seen[..., 2:], IMAGES[:, 6:, 6:])


def test_pooling_by_hand():
    image = jnp.array([[1.0, 2, 5], [3, 6, 7], [0, 4, 9]]).reshape(1, 3, 3, 1)
    np.testing.assert_allclose(pool(image, 2)[0, ..., 0], [[3, 6], [2, 9]])
    np.testing.assert_allclose(pool(image, 2, "max")[0, ..., 0], [[6, 7], [4, 9]])
    for pooling in ("average", "max"):
        np.testing.assert_array_equal(pool(image, 1, pooling), image)


@pytest.mark.parametrize("pooling, reduce", [("average", np.mean), ("max", np.max)])
def test_only_squares_at_the_far_edges_are_cut_off(pooling, reduce):
    image = np.random.default_rng(1).normal(size=(1, 7, 8, 1))
    squares = [[reduce(image[0, i : i + 3, j : j + 3]) for j in (0, 3, 6)] for i in (0, 3, 6)]
    np.testing.assert_allclose(pool(jnp.asarray(image), 3, pooling)[0, ..., 0], squares, rtol=1e-5)


def test_gradients_reach_the_localisation_network():
    """A blob lies right of the centre: to show it in the middle, the transformer must move right."""
    x = np.arange(12) - 8.0
    blob = jnp.asarray(np.exp(-(x[None] ** 2 + (np.arange(12)[:, None] - 5.5) ** 2) / 8), jnp.float32)[None, ..., None]
    transform = make_transform("translation", 12, 12)
    module = SpatialTransformer(DenseLocalisation((0.0, 0.0), 4, 1, parent=None), transform)
    params = jax.jit(module.init)(jax.random.key(0), blob)

    @jax.jit
    @jax.grad
    def slope(params):
        return module.apply(params, blob).images[0, 5:7, 5:7].sum()

    gradient = slope(params)["params"]["localisation"]["regression"]["parameters"]["bias"]
    # At pixel centres the gradient is one-sided, so it is not exactly 0 in y.
    assert gradient[0] > 0.1 and abs(gradient[1]) < 0.2 * gradient[0]


def test_normalised_background_is_the_same_inside_and_out():
    """Zooming out of a blank image shows a blank image."""
    blank = jnp.full((1, 12, 12, 1), (0 - 0.13) / 0.31)
    module = _fixed(2.0, 0.0, 0.0, fill=(0 - 0.13) / 0.31)
    np.testing.assert_allclose(_apply(module, blank).images, blank, rtol=1e-6)
