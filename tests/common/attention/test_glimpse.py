"""The sensor against a plain crop and pool in exact arithmetic, SciPy's interpolation, and finite differences."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from common.attention.glimpse import (
    Retina,
    bilinear_glimpse,
    glimpse,
    glimpse_boxes,
    glimpse_sums,
    make_sensor,
    summed_area_table,
)

# (H, W, C, retina): odd and even, square and not, patches smaller and larger than the image.
CASES = [
    (8, 8, 1, Retina(4, 1)),
    (9, 7, 1, Retina(3, 2)),
    (7, 10, 3, Retina(5, 3)),
    (16, 12, 3, Retina(4, 4)),
    (11, 11, 1, Retina(3, 3, growth=3)),
    (10, 13, 2, Retina(2, 4, growth=3)),
    (6, 5, 1, Retina(3, 3, growth=1)),
    (1, 1, 1, Retina(2, 2)),
    (5, 17, 1, Retina(1, 4)),
    (4, 4, 3, Retina(9, 1)),
]
# Compiled once for each shape: an eager call compiles every operation by itself.
TABLE = jax.jit(summed_area_table)
BOXES = jax.jit(glimpse_boxes, static_argnums=(1, 2, 3))
BILINEAR = jax.jit(bilinear_glimpse, static_argnums=2)
FAR = [1e6, -1e6, 1e30, -1e30, float("inf"), float("-inf"), 3.4e38]


def _image(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _centre(location, height, width):
    """Exact pixel (x, y) of a normalised location."""
    return [(Fraction(float(part)) + 1) / 2 * n for part, n in zip(location, (width, height), strict=True)]


def _crop_and_pool(image, location, retina):
    """Zero-pads, crops and sums over boxes, in exact arithmetic: ``[K, G, G, C]``."""
    height, width, channels = image.shape
    sums = []
    for scale in range(retina.scales):
        side = retina.growth**scale
        extent = retina.size * side
        patch = np.zeros((extent, extent, channels), np.int64)
        if np.isfinite(location).all():
            # The edges of the patch are rounded half up to whole pixels.
            left, top = (math.floor(c - Fraction(extent, 2) + Fraction(1, 2)) for c in _centre(location, height, width))
            rows = range(max(top, 0), min(top + extent, height))
            columns = range(max(left, 0), min(left + extent, width))
            for row in rows:
                for column in columns:
                    patch[row - top, column - left] = image[row, column]
        boxes = patch.reshape(retina.size, side, retina.size, side, channels)
        sums.append(boxes.sum(axis=(1, 3)))
    return np.stack(sums)


def _is_clear(location, height, width):
    """Return whether single precision cannot change how the location is rounded."""
    return all(abs(2 * c - round(2 * c)) > Fraction(1, 1000) for c in _centre(location, height, width))


def _locations(height, width, count, seed=1):
    points = np.random.default_rng(seed).uniform(-1.6, 1.6, (4 * count, 2)).astype(np.float32)
    return np.stack([point for point in points if _is_clear(point, height, width)][:count])


@functools.partial(jax.jit, static_argnums=2)
def _sums_at(image, points, retina):
    return jax.vmap(glimpse_sums, in_axes=(None, 0, None))(summed_area_table(image), points, retina)


@functools.partial(jax.jit, static_argnums=2)
def _glimpses_at(image, points, retina):
    return jax.vmap(glimpse, in_axes=(None, 0, None))(summed_area_table(image), points, retina)


def _sums(image, points, retina):
    return np.asarray(_sums_at(jnp.asarray(image), jnp.asarray(points), retina))


@pytest.mark.parametrize(("height", "width", "channels", "retina"), CASES)
def test_sums_equal_crop_and_pool_to_the_last_bit(height, width, channels, retina):
    image, points = _image(height, width, channels), _locations(height, width, 40)
    expected = np.stack([_crop_and_pool(image, point, retina) for point in points])
    assert expected.any()
    np.testing.assert_array_equal(_sums(image, points, retina), expected)


@pytest.mark.parametrize("retina", [Retina(3, 2), Retina(4, 2), Retina(3, 3, growth=3), Retina(2, 4)])
def test_edges_are_rounded_half_up(retina):
    # On 8 x 16 pixels every half pixel is exact in single precision, so ties are real ties.
    image = _image(8, 16, 1)
    x, y = np.meshgrid(np.arange(-3, 20, 0.5) / 8 - 1, np.arange(-3, 12, 0.5) / 4 - 1)
    points = np.stack([x.ravel(), y.ravel()], axis=-1).astype(np.float32)
    expected = np.stack([_crop_and_pool(image, point, retina) for point in points])
    np.testing.assert_array_equal(_sums(image, points, retina), expected)


@pytest.mark.parametrize(
    ("size", "x", "left"),
    [(2, 3.0, 2), (2, 3.4375, 2), (2, 3.5, 3), (3, 3.0, 2), (3, 3.5, 2), (3, 3.9375, 2), (3, 4.0, 3), (1, 3.5, 3)],
)
def test_rounding_by_hand(size, x, left):
    location = jnp.array([x / 4 - 1, 0.0])
    assert int(BOXES(location, Retina(size), 8, 8)[0, 0]) == left


@pytest.mark.parametrize("retina", [Retina(4, 1), Retina(3, 4), Retina(2, 3, growth=3)])
def test_far_outside_the_retina_sees_zeros(retina):
    image = np.full((9, 12, 2), 255, np.uint8)
    points = np.array([(f, g) for f in FAR for g in (0.0, f, -f)] + [(0.0, f) for f in FAR], np.float32)
    np.testing.assert_array_equal(_sums(image, points, retina), 0)


def test_a_hand_computed_glimpse():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    seen = _sums(image, np.array([[0.0, 0.0], [-1.0, -1.0]], np.float32), Retina(2, 2))
    np.testing.assert_array_equal(seen[0, 0, ..., 0], [[5, 6], [9, 10]])
    np.testing.assert_array_equal(seen[0, 1, ..., 0], [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [42, 50]])
    np.testing.assert_array_equal(seen[1, 0, ..., 0], [[0, 0], [0, 0]])
    np.testing.assert_array_equal(seen[1, 1, ..., 0], [[0, 0], [0, 10]])


def test_the_table_is_the_double_cumulative_sum():
    image = _image(7, 5, 3)
    expected = np.zeros((8, 6, 3), np.int64)
    expected[1:, 1:] = image.astype(np.int64).cumsum(0).cumsum(1)
    np.testing.assert_array_equal(TABLE(jnp.asarray(image)), expected)


def test_sums_are_exact_where_the_table_overflows():
    # The corner of an image of 20,000 x 20,000 pixels: the rest of it adds a sum to each row and to each column.
    image, points, retina = _image(9, 8, 1), _locations(9, 8, 20), Retina(3, 2)
    table = np.zeros((10, 9, 1), np.int64)
    table[1:, 1:] = image.astype(np.int64).cumsum(0).cumsum(1)
    table += 255 * 20_000 * (20_000 + np.arange(10)[:, None, None] + np.arange(9)[None, :, None])
    wrapped = table.astype(np.int32)
    assert table.max() > 2**32 and not np.array_equal(wrapped, table)
    see = jax.jit(jax.vmap(lambda point: glimpse_sums(jnp.asarray(wrapped), point, retina)))
    np.testing.assert_array_equal(see(jnp.asarray(points)), _sums(image, points, retina))


@pytest.mark.parametrize(("height", "width", "channels", "retina"), CASES[2:5])
def test_glimpse_is_the_mean_over_each_box(height, width, channels, retina):
    image, points = _image(height, width, channels), _locations(height, width, 5)
    seen = _glimpses_at(jnp.asarray(image), jnp.asarray(points), retina)
    assert seen.dtype == jnp.float32
    assert seen.shape == (5, retina.scales, retina.size, retina.size, channels)
    sides = retina.growth ** np.arange(retina.scales)
    expected = np.stack([_crop_and_pool(image, point, retina) for point in points])
    np.testing.assert_allclose(seen, expected / (255 * sides**2)[:, None, None, None], rtol=3e-7)


def test_glimpse_of_white_is_one():
    seen = _glimpses_at(jnp.full((40, 40, 1), 255, jnp.uint8), jnp.zeros((1, 2)), Retina(4, 3))
    np.testing.assert_allclose(seen, 1, rtol=2e-7)


@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_the_pixels_that_are_summed(seed):
    height, width, retina = 9, 14, Retina(3, 3)
    image, points = _image(height, width, 1, seed), _locations(height, width, 6, seed)
    padded = np.pad(image, ((30, 30), (30, 30), (0, 0))).astype(np.int64)
    for point, sums in zip(points, _sums(image, points, retina), strict=True):
        boxes = np.asarray(BOXES(point, retina, height, width)) + 30
        for side, (left, top, right, bottom), patch in zip(retina.box_sides, boxes, sums, strict=True):
            assert right - left == bottom - top == retina.size * side
            assert padded[top:bottom, left:right].sum() == patch.sum()


def test_single_batched_and_compiled_agree():
    retina = Retina(3, 3)
    images = jnp.asarray(np.stack([_image(9, 11, 2, seed) for seed in range(4)]))
    points = jnp.asarray(_locations(9, 11, 4))
    tables = jax.jit(jax.vmap(summed_area_table))(images)
    see = functools.partial(glimpse, retina=retina)
    single = np.stack([jax.jit(see)(table, point) for table, point in zip(tables, points, strict=True)])
    np.testing.assert_array_equal(see(tables[0], points[0]), single[0])
    np.testing.assert_array_equal(jax.jit(jax.vmap(see))(tables, points), single)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_an_image_that_holds_no_integers_is_refused(dtype, unchecked):
    with pytest.raises(ValueError, match=f"dtype {dtype}"):
        summed_area_table(jnp.ones((4, 4, 1), dtype))


def test_shifting_image_and_location_alike_changes_nothing():
    retina, shift = Retina(3, 3), (3, -2)
    image = np.zeros((32, 32, 1), np.uint8)
    image[12:20, 12:20] = _image(8, 8, 1)
    shifted = np.roll(image, (shift[1], shift[0]), axis=(0, 1))
    points = np.random.default_rng(0).integers(-64, 64, (50, 2)).astype(np.float32) / 128
    moved = points + np.array(shift, np.float32) * 2 / 32
    seen = _sums(image, points, retina)
    assert seen.any()
    np.testing.assert_array_equal(_sums(shifted, moved, retina), seen)


@pytest.mark.parametrize("differentiable", [False, True])
def test_outside_an_image_without_its_mean_lie_zeros(differentiable):
    images = np.stack([_image(9, 12, 3), _image(9, 12, 3, seed=1) // 2])
    retina = Retina(4, 2, subtract_mean=True)
    points = jnp.array([[0.5, -1 / 3], [1.0, 1.0]])  # At (9, 3), and at the lower right corner.
    see = jax.jit(lambda images: make_sensor(images, retina, differentiable=differentiable)(points))
    seen = see(jnp.asarray(images))
    for image, point, shown in zip(images, points, seen, strict=True):
        less = image.astype(int) - round(image.mean())
        sums = np.stack(_crop_and_pool(less, point, retina))
        np.testing.assert_allclose(shown, sums / (255 * np.array([1, 4]).reshape(2, 1, 1, 1)), atol=1e-6)
    assert not seen[1, 0, 2:].any() and not seen[1, 0, :, 2:].any()
    brighter = see(jnp.asarray(images // 2 + 60))
    np.testing.assert_allclose(brighter, see(jnp.asarray(images // 2)), atol=1e-6)


def test_no_gradient_passes_through_the_location():
    table = TABLE(jnp.asarray(_image(8, 8, 1)))
    gradient = jax.jit(jax.grad(lambda point: glimpse(table, point, Retina(3, 2)).sum()))(jnp.array([0.1, -0.3]))
    np.testing.assert_array_equal(gradient, 0)


def _smooth(height, width, channels, seed=0):
    noise = np.random.default_rng(seed).uniform(size=(height, width, channels))
    return ndimage.gaussian_filter(noise, (1.0, 1.0, 0.0), mode="constant")


@pytest.mark.parametrize(("height", "width", "channels", "retina"), CASES[1:4])
def test_bilinear_equals_interpolation_by_scipy(height, width, channels, retina, x64):
    image, points = _smooth(height, width, channels), _locations(height, width, 4)
    for point in points.astype(np.float64):
        seen = BILINEAR(jnp.asarray(image), jnp.asarray(point), retina)
        x, y = (point + 1) / 2 * [width, height]
        for side, patch in zip(retina.box_sides, seen, strict=True):
            extent = retina.size * side
            # The centre of pixel j is at j + 1/2, where SciPy puts it at j.
            offsets = np.arange(extent) - (extent - 1) / 2 - 0.5
            grid = np.meshgrid(y + offsets, x + offsets, indexing="ij")
            for channel in range(channels):
                pixels = ndimage.map_coordinates(image[..., channel], grid, order=1, mode="grid-constant")
                means = pixels.reshape(retina.size, side, retina.size, side).mean(axis=(1, 3))
                np.testing.assert_allclose(patch[..., channel], means, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "channels", "retina"), CASES[1:3])
def test_bilinear_gradient_equals_central_differences(height, width, channels, retina, x64):
    image = jnp.asarray(_smooth(height, width, channels))
    weights = jnp.asarray(np.random.default_rng(5).normal(size=(retina.scales, retina.size, retina.size, channels)))

    @jax.jit
    def value(point):
        return (weights * bilinear_glimpse(image, point, retina)).sum()

    gradient, step = jax.jit(jax.grad(value)), 1e-6
    for point in 0.6 * _locations(height, width, 5).astype(np.float64):
        # Generic locations lie further than a step from the kinks, which are at whole and half pixels.
        numeric = [(value(point + step * axis) - value(point - step * axis)) / (2 * step) for axis in np.eye(2)]
        assert np.abs(numeric).max() > 1e-4
        np.testing.assert_allclose(gradient(point), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("retina", [Retina(4, 2), Retina(2, 3, growth=3), Retina(3, 1), Retina(1, 2)])
def test_bilinear_equals_glimpse_where_nothing_is_rounded(retina):
    image = jnp.asarray(_image(8, 16, 2))
    for x, y in [(0.0, 0.0), (5.0, 2.0), (-1.0, 9.0), (16.0, 8.0)]:
        for scale, side in enumerate(retina.box_sides):
            # A patch whose extent is odd is centred on the middle of a pixel.
            half = 0.5 * (retina.size * side % 2)
            point = jnp.array([(x + half) / 8 - 1, (y + half) / 4 - 1])
            sharp, smooth = _glimpses_at(image, point[None], retina)[0], BILINEAR(image, point, retina)
            np.testing.assert_allclose(smooth[scale], sharp[scale], atol=1e-6)


def test_bilinear_is_linear_in_the_image(x64):
    a, b = jnp.asarray(_smooth(9, 7, 2, 0)), jnp.asarray(_smooth(9, 7, 2, 1))

    def see(image):
        return BILINEAR(image, jnp.array([0.21, -0.57]), Retina(3, 3))

    np.testing.assert_allclose(see(2 * a - 3 * b), 2 * see(a) - 3 * see(b), atol=1e-12)


def test_bilinear_takes_bytes_as_fractions_of_255():
    image, point = _image(9, 7, 2), jnp.array([0.21, -0.57])
    of_floats = BILINEAR(jnp.asarray(image / np.float32(255)), point, Retina(3, 2))
    np.testing.assert_allclose(BILINEAR(jnp.asarray(image), point, Retina(3, 2)), of_floats, atol=1e-6)


@pytest.mark.parametrize("far", [1e6, -1e30, 3e38])
def test_bilinear_is_finite_far_outside(far):
    image = jnp.asarray(_image(9, 7, 1))

    np.testing.assert_array_equal(BILINEAR(image, jnp.array([far, 0.0]), Retina(3, 2)), 0)
    gradient = jax.jit(jax.grad(lambda point: bilinear_glimpse(image, point, Retina(3, 2)).sum()))
    np.testing.assert_array_equal(gradient(jnp.array([0.0, far])), 0)
