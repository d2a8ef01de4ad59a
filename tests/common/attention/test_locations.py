"""Coordinates and sigma by hand, and first locations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.attention import locations

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("location", "pixels"),
    [
        ((-1.0, -1.0), (0.0, 0.0)),
        ((1.0, 1.0), (40.0, 20.0)),
        ((1.0, -1.0), (40.0, 0.0)),
        ((0.0, 0.0), (20.0, 10.0)),
        ((0.5, -0.5), (30.0, 5.0)),
        ((1.5, -2.0), (50.0, -10.0)),
    ],
)
def test_pixels_of_an_image_of_20_rows_and_40_columns(location, pixels):
    np.testing.assert_array_equal(locations.to_pixels(jnp.array(location), 20, 40), pixels)
    np.testing.assert_array_equal(locations.to_normalised(jnp.array(pixels), 20, 40), location)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (28, 28), (37, 61), (100, 7)])
def test_pixels_and_normalised_are_inverse(height, width):
    points = jax.random.uniform(KEY, (5, 4, 2), minval=-3, maxval=3)
    there = locations.to_pixels(points, height, width)
    assert there.shape == points.shape and there.dtype == points.dtype
    expected = (np.asarray(points, np.float64) + 1) / 2 * [width, height]
    np.testing.assert_allclose(there, expected, rtol=1e-5, atol=1e-5 * max(height, width))
    np.testing.assert_allclose(locations.to_normalised(there, height, width), points, atol=1e-5)


def test_pixels_keep_double_precision(x64):
    assert locations.to_pixels(jnp.zeros(2), 3, 3).dtype == jnp.float64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", (0.1, 0.1)),
        ("1", (1.0, 1.0)),
        (" .5 ", (0.5, 0.5)),
        ("2.", (2.0, 2.0)),
        ("+0.25", (0.25, 0.25)),
        ("1e-2", (0.01, 0.01)),
        ("5px", (0.25, 0.5)),
        ("5 px", (0.25, 0.5)),
        ("2.5px", (0.125, 0.25)),
        ("1e1px", (0.5, 1.0)),
    ],
)
def test_parse_sigma_in_both_units(text, expected):
    assert locations.parse_sigma(text, height=20, width=40) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0px",
        "-1",
        "-1px",
        "abc",
        "",
        "px",
        "inf",
        "nan",
        "infpx",
        "1e400",
        "1e400px",
        "1e-400",
        "5pt",
        "5 6",
        "1,5",
    ],
)
def test_parse_sigma_quotes_a_bad_value(text):
    with pytest.raises(ValueError) as error:
        locations.parse_sigma(text, 28, 28)
    assert repr(text) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1e-50", "1e-50px", "1e39", "1e308px"])
def test_parse_sigma_refuses_numbers_that_are_zero_or_infinite_in_single_precision(text):
    with pytest.raises(ValueError, match=text):
        locations.parse_sigma(text, 1, 1)


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("0.1", (100, 100), "0.1 (5 px)"),
        ("5px", (100, 100), "0.1 (5 px)"),
        ("5px", (20, 40), "0.25 x 0.5 (5 px)"),
        ("0.1", (20, 40), "0.1 (2 x 1 px)"),
    ],
)
def test_describe_sigma_prints_both_units(text, size, expected):
    assert locations.describe_sigma(locations.parse_sigma(text, *size), *size) == expected


def test_clip_location_moves_onto_the_image():
    points = jnp.array([[-1.5, 0.25], [1.0, 7.0], [-0.5, -1.0]])
    np.testing.assert_array_equal(locations.clip_location(points), [[-1.0, 0.25], [1.0, 1.0], [-0.5, -1.0]])


def test_uniform_first_locations_cover_the_image():
    points = np.asarray(locations.FIRST_LOCATIONS["uniform"](KEY, 5_000))
    assert points.shape == (5_000, 2)
    for axis in range(2):
        assert stats.kstest(points[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3
    assert abs(np.corrcoef(points.T)[0, 1]) < 5 / np.sqrt(5_000)


def test_the_first_location_centre_is_the_centre():
    np.testing.assert_array_equal(locations.FIRST_LOCATIONS["centre"](KEY, 3), np.zeros((3, 2)))
