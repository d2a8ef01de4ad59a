"""The Gaussian location policy against SciPy, and its location network against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.attention.location_policies import (
    GaussianLocationNetwork,
    GaussianPolicy,
    compute_policy,
    make_location_network,
    takes_sigma,
)

KEY = jax.random.key(3)
OUTPUT = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
SIGMA = jnp.array([0.1, 0.4])


def _gaussian(seed, batch=(3, 4)):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(*batch, 2)).astype(np.float32)
    return GaussianPolicy(jnp.asarray(mean), jnp.asarray(rng.uniform(0.05, 2, 2).astype(np.float32)))


def test_log_prob_and_entropy_equal_scipy():
    policy = _gaussian(0)
    mean, sigma = policy
    points = mean + jax.random.normal(KEY, mean.shape)
    log_prob, entropy = jax.jit(lambda policy: (policy.log_prob(points), policy.entropy()))(policy)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(points, mean, sigma).sum(-1), rtol=1e-4)
    expected = stats.norm.entropy(0, np.asarray(sigma)).sum()
    np.testing.assert_allclose(entropy, np.full(mean.shape[:-1], expected), rtol=1e-5)
    np.testing.assert_array_equal(policy.mode(), mean)


def test_samples_are_gaussian_and_mirrored_in_the_mean():
    mean, sigma = jnp.array([0.3, -0.7]), jnp.array([0.1, 0.4])
    policy = GaussianPolicy(jnp.tile(mean, (20_000, 1)), sigma)
    sample = jax.jit(lambda policy: policy.sample(KEY))(policy)
    standard = (np.asarray(sample) - np.asarray(mean)) / np.asarray(sigma)
    for axis in range(2):
        assert stats.kstest(standard[:, axis], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(standard.T)[0, 1]) < 5 / np.sqrt(20_000)
    mirrored = policy.mirror(sample)
    np.testing.assert_allclose(mirrored + sample, 2 * policy.mean, atol=1e-5)
    np.testing.assert_allclose(policy.log_prob(mirrored), policy.log_prob(sample), rtol=1e-3, atol=1e-4)


def test_a_sample_is_reparameterised():
    def sample(mean, sigma):
        return GaussianPolicy(mean, sigma).sample(KEY)

    mean, sigma = jnp.array([0.3, -0.7]), jnp.array([0.1, 0.4])
    of_mean, of_sigma = jax.jit(jax.jacrev(sample, argnums=(0, 1)))(mean, sigma)
    np.testing.assert_allclose(of_mean, np.eye(2), atol=1e-6)
    np.testing.assert_allclose(of_sigma, np.diag((sample(mean, sigma) - mean) / sigma), rtol=1e-4, atol=1e-6)


def test_the_log_probability_of_a_location_has_the_gradient_of_the_papers():
    def log_prob(mean, sigma):
        return GaussianPolicy(mean, sigma).log_prob(location)

    mean, sigma, location = jnp.array([0.3, -0.7]), jnp.array([0.1, 0.4]), jnp.array([0.45, -0.2])
    of_mean, of_sigma = jax.jit(jax.grad(log_prob, argnums=(0, 1)))(mean, sigma)
    np.testing.assert_allclose(of_mean, (location - mean) / sigma**2, rtol=1e-4)
    np.testing.assert_allclose(of_sigma, (location - mean) ** 2 / sigma**3 - 1 / sigma, rtol=1e-4)


def test_finite_at_extreme_sigmas():
    @jax.jit
    def log_prob(mean, spread):
        policy = GaussianPolicy(mean, spread)
        return policy.log_prob(jax.lax.stop_gradient(policy.sample(KEY))).sum()

    mean, gradient = jnp.array([[0.0, 1.0], [-1.0, 1e3]]), jax.jit(jax.grad(log_prob, argnums=(0, 1)))
    for sigma in (1e-6, 1e-3, 1e3, 1e6):
        spread = jnp.full(2, sigma)
        assert all(np.isfinite(value).all() for value in (log_prob(mean, spread), *gradient(mean, spread)))


def test_a_policy_behaves_alike_under_vmap_and_jit():
    mean, sigma = _gaussian(2, (5,))
    keys = jax.random.split(KEY, 5)

    @jax.jit
    def use(key, mean, sigma):
        policy = GaussianPolicy(mean, sigma)
        sample = policy.sample(key)
        return sample, policy.log_prob(sample), policy.entropy()

    single = [use(k, m, sigma) for k, m in zip(keys, mean, strict=True)]
    mapped = jax.jit(jax.vmap(use, in_axes=(0, 0, None)))(keys, mean, sigma)
    for index, part in enumerate(mapped):
        np.testing.assert_allclose(part, np.stack([s[index] for s in single]), rtol=1e-4, atol=1e-6)


def _apply(module):
    """The policy, and parameters, which are random, biases included."""
    output = jnp.asarray(OUTPUT)
    shapes = jax.eval_shape(module.init, jax.random.key(0), output, SIGMA)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    return jax.jit(module.apply)(params, output, SIGMA), params["params"]


def _dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


@pytest.mark.parametrize("unit", [None, (0.5, 2.0)])
@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("linear", lambda x: x), ("tanh", np.tanh), ("hard_tanh", lambda x: np.clip(x, -1, 1))],
)
def test_gaussian_location_network(activation, function, hidden, unit):
    (mean, sigma), params = _apply(GaussianLocationNetwork(activation, hidden, unit_width=unit))
    before = np.maximum(_dense(params["hidden_layer"], OUTPUT), 0) if hidden else OUTPUT
    expected = function(_dense(params["mean"], before)) * np.array(unit or (1, 1))
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(sigma, np.broadcast_to(SIGMA, (2, 3, 2)))


def test_a_learned_sigma_is_a_factor_that_starts_at_one():
    module = GaussianLocationNetwork(learned_sigma="global")
    fresh = module.init(jax.random.key(0), jnp.asarray(OUTPUT), SIGMA)
    np.testing.assert_array_equal(module.apply(fresh, jnp.asarray(OUTPUT), SIGMA).sigma[0, 0], SIGMA)
    policy, params = _apply(module)
    np.testing.assert_allclose(
        policy.sigma[0, 0], np.asarray(SIGMA) * np.exp(np.asarray(params["log_sigma"])), rtol=1e-5
    )


def test_a_location_network_is_given_the_options_that_it_has_a_field_for():
    made = make_location_network("gaussian", hidden=3, learned_sigma="state", taste="sweet")
    assert made == GaussianLocationNetwork(hidden=3, learned_sigma="state")
    with pytest.raises(ValueError, match="unknown location_policy 'gausian': did you mean 'gaussian'"):
        make_location_network("gausian")


class Fixed(nn.Module):
    """A location network without sigma."""

    def __call__(self, output):
        return GaussianPolicy(output[..., :2], jnp.float32(1))


def test_sigma_goes_to_a_location_network_that_takes_it():
    assert takes_sigma(GaussianLocationNetwork) and takes_sigma(GaussianLocationNetwork())
    assert not takes_sigma(Fixed) and not takes_sigma(Fixed())
    np.testing.assert_array_equal(compute_policy(Fixed(), jnp.asarray(OUTPUT), SIGMA).mean, OUTPUT[..., :2])
