"""Coordinates by hand, and the Gaussian policy against SciPy."""

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
def test_parse_sigma_quotes_what_it_refuses(text):
    with pytest.raises(ValueError) as error:
        locations.parse_sigma(text, 28, 28)
    assert repr(text) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1e-50", "1e-50px", "1e39", "1e308px"])
def test_parse_sigma_refuses_what_single_precision_makes_zero_or_infinite(text):
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


def _gaussian(seed, batch=(3, 4)):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(*batch, 2)).astype(np.float32)
    return jnp.asarray(mean), jnp.asarray(rng.uniform(0.05, 2, 2).astype(np.float32))


def test_log_prob_and_entropy_equal_scipy():
    mean, sigma = _gaussian(0)
    points = mean + jax.random.normal(KEY, mean.shape)

    @jax.jit
    def log_prob_and_entropy(mean, sigma):
        policy = locations.location_policy(mean, sigma)
        return policy.log_prob(points), policy.entropy()

    log_prob, entropy = log_prob_and_entropy(mean, sigma)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(points, mean, sigma).sum(-1), rtol=1e-4)
    expected = stats.norm.entropy(0, np.asarray(sigma)).sum()
    np.testing.assert_allclose(entropy, np.full(mean.shape[:-1], expected), rtol=1e-5)


def test_sample_location_returns_its_own_log_prob_and_entropy():
    mean, sigma = _gaussian(1)
    sample, log_prob, entropy = jax.jit(locations.sample_location)(KEY, mean, sigma)
    assert sample.shape == mean.shape
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(sample, mean, sigma).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(entropy, stats.norm.entropy(0, np.asarray(sigma)).sum(), rtol=1e-5)


def test_samples_are_gaussian():
    mean, sigma = jnp.array([0.3, -0.7]), jnp.array([0.1, 0.4])
    sample, _, _ = jax.jit(locations.sample_location)(KEY, jnp.tile(mean, (20_000, 1)), sigma)
    standard = (np.asarray(sample) - np.asarray(mean)) / np.asarray(sigma)
    for axis in range(2):
        assert stats.kstest(standard[:, axis], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(standard.T)[0, 1]) < 5 / np.sqrt(20_000)


def test_the_sample_is_detached_and_the_log_prob_is_not():
    def parts(mean, sigma):
        sample, log_prob, _ = locations.sample_location(KEY, mean, sigma)
        return sample.sum(), log_prob

    mean, sigma = jnp.array([0.3, -0.7]), jnp.array([0.1, 0.4])
    of_sample, of_log_prob = jax.jit(jax.jacrev(parts, argnums=(0, 1)))(mean, sigma)
    for part in of_sample:
        np.testing.assert_array_equal(part, 0)
    sample = locations.sample_location(KEY, mean, sigma)[0]
    np.testing.assert_allclose(of_log_prob[0], (sample - mean) / sigma**2, rtol=1e-4)
    np.testing.assert_allclose(of_log_prob[1], (sample - mean) ** 2 / sigma**3 - 1 / sigma, rtol=1e-4)


def test_finite_at_extreme_sigmas():
    @jax.jit
    def log_prob(mean, spread):
        return locations.sample_location(KEY, mean, spread)[1].sum()

    mean, gradient = jnp.array([[0.0, 1.0], [-1.0, 1e3]]), jax.jit(jax.grad(log_prob, argnums=(0, 1)))
    for sigma in (1e-6, 1e-3, 1e3, 1e6):
        spread = jnp.full(2, sigma)
        assert all(np.isfinite(value).all() for value in (log_prob(mean, spread), *gradient(mean, spread)))


def test_sampling_alike_under_vmap_and_jit():
    mean, sigma = _gaussian(2, (5,))
    keys = jax.random.split(KEY, 5)
    one = jax.jit(locations.sample_location)
    single = [one(k, m, sigma) for k, m in zip(keys, mean, strict=True)]
    mapped = jax.jit(jax.vmap(locations.sample_location, in_axes=(0, 0, None)))(keys, mean, sigma)
    for index, part in enumerate(mapped):
        np.testing.assert_allclose(part, np.stack([s[index] for s in single]), rtol=1e-4, atol=1e-6)


def test_clip_location_moves_onto_the_image():
    points = jnp.array([[-1.5, 0.25], [1.0, 7.0], [-0.5, -1.0]])
    np.testing.assert_array_equal(locations.clip_location(points), [[-1.0, 0.25], [1.0, 1.0], [-0.5, -1.0]])


def test_uniform_start_covers_the_image():
    points = np.asarray(locations.FIRST_LOCATIONS["uniform"](KEY, 5_000))
    assert points.shape == (5_000, 2)
    for axis in range(2):
        assert stats.kstest(points[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3
    assert abs(np.corrcoef(points.T)[0, 1]) < 5 / np.sqrt(5_000)


def test_centre_start_is_the_centre():
    np.testing.assert_array_equal(locations.FIRST_LOCATIONS["centre"](KEY, 3), np.zeros((3, 2)))
