"""The differentiable retina against loops over pixels, and with extreme parameters."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from common.attention.glimpse import Retina, make_sensor
from stn.soft_attention.filter_bank import Window, attention_map, make_window, read, window_filters

HEIGHT, WIDTH, SIZE = 9, 12, 4
IMAGE = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 2)).astype(np.float32)


def window(x=0.2, y=-0.3, stride=2.0, sigma=0.8, intensity=1.5):
    return Window(jnp.array([x, y]), jnp.array(stride), jnp.array(sigma), jnp.array(intensity))


def by_hand(seen, size=SIZE):
    """Compute each filter as a sum over pixels, whose centres are half a pixel from their edges."""
    middle = (np.asarray(seen.centre, float) + 1) / 2 * [WIDTH, HEIGHT]
    patch = np.zeros((size, size, 2))
    for i in range(size):
        for j in range(size):
            x, y = (middle[axis] + (n - (size - 1) / 2) * float(seen.stride) for axis, n in ((0, j), (1, i)))
            across = np.exp(-((np.arange(WIDTH) + 0.5 - x) ** 2) / (2 * float(seen.sigma) ** 2))
            down = np.exp(-((np.arange(HEIGHT) + 0.5 - y) ** 2) / (2 * float(seen.sigma) ** 2))
            weights = np.outer(down / down.sum(), across / across.sum())
            patch[i, j] = float(seen.intensity) * (weights[..., None] * IMAGE).sum(axis=(0, 1))
    return patch


@pytest.mark.parametrize("settings", [{}, {"x": -0.9, "y": 0.9}, {"stride": 0.3, "sigma": 2.5}])
def test_reading_by_hand(settings):
    seen = window(**settings)
    patch = jax.jit(read, static_argnums=2)(jnp.asarray(IMAGE), seen, SIZE)
    np.testing.assert_allclose(patch, by_hand(seen), rtol=1e-3, atol=1e-5)


def test_sharp_filters_a_pixel_apart_are_a_crop():
    """The crop of the glimpse sensor of the hard agents."""
    sensor = jax.jit(lambda images, location: make_sensor(images, Retina(4, 1))(location))
    location = jnp.array([[1 / 6, 1 / 9]])  # Middle of columns 5 to 8, and of rows 3 to 6.
    seen = Window(location[0], jnp.array(1.0), jnp.array(0.05), jnp.array(1.0))
    image = (255 * IMAGE).astype(np.uint8)
    crop = jax.jit(read, static_argnums=2)(image / np.float32(255), seen, 4)
    np.testing.assert_allclose(crop, sensor(image[None], location)[0, 0], atol=1e-4)


def test_zero_parameters_give_the_whole_image():
    seen = make_window(jnp.zeros(5), SIZE, HEIGHT, WIDTH)
    rows, columns = window_filters(seen, SIZE, HEIGHT, WIDTH)
    # Along the longer side the outermost filters lie on the outermost pixels.
    assert columns.argmax(axis=1).tolist()[::3] == [0, WIDTH - 1]
    np.testing.assert_allclose(seen.sigma, seen.stride / 2)
    assert rows.shape == (SIZE, HEIGHT)


def test_window_parameters_are_logarithms():
    raw = jnp.array([0.1, 0.2, 2.0, -1.0, 0.5])
    paper = make_window(raw, SIZE, HEIGHT, WIDTH, relative=False)
    np.testing.assert_allclose(paper.sigma, np.exp(1.0), rtol=1e-6)
    np.testing.assert_allclose(paper.stride, (WIDTH - 1) / (SIZE - 1) * np.exp(-1.0), rtol=1e-6)
    np.testing.assert_allclose(paper.intensity, np.exp(0.5), rtol=1e-6)


def test_the_map_holds_the_weights_of_the_mean_of_a_patch():
    """The mean of a patch is the mean of the image, weighted by the map."""
    seen = window(intensity=1.0)
    weights = np.asarray(attention_map(seen, SIZE, HEIGHT, WIDTH))
    assert weights.sum() == pytest.approx(1, rel=1e-5)
    patch = np.asarray(read(jnp.asarray(IMAGE), seen, SIZE))
    np.testing.assert_allclose(patch.mean(axis=(0, 1)), (weights[..., None] * IMAGE).sum(axis=(0, 1)), rtol=1e-4)


@pytest.mark.parametrize("relative", [True, False])
def test_gradients_equal_finite_differences(relative, x64):
    raw = jnp.array([0.2, -0.3, -0.5, -0.7, 0.4])

    def seen(raw, image):
        return read(image, make_window(raw, SIZE, HEIGHT, WIDTH, relative), SIZE)

    check_grads(jax.jit(seen), (raw, jnp.asarray(IMAGE, float)), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("extreme", [-1e30, -1e3, 1e3, 1e30])
def test_extreme_windows_have_finite_values_and_gradients(extreme):
    def value(raw):
        seen = make_window(raw, SIZE, HEIGHT, WIDTH)
        return read(jnp.asarray(IMAGE), seen, SIZE).sum()

    for index in range(5):
        raw = jnp.zeros(5).at[index].set(extreme)
        chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(value))(raw))
