"""Bias and variance of estimators: against closed forms, and on the agent."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig, make_estimator
from common.training.step import StepInput
from experiments.studies.gradients import (
    ESTIMATORS,
    NETWORK,
    VALUE_NETWORK,
    GradientInputs,
    Moments,
    configure,
    make_gradients,
    make_reference,
    make_value_fit,
    make_warm_up,
    summarise,
)
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig

HEIGHT, WIDTH, CLASSES, BATCH, GLIMPSES = 10, 12, 3, 6, 3
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.arange(BATCH) % CLASSES
KEY = jax.random.key(5)
SMALL = AgentConfig(
    num_glimpses=GLIMPSES, glimpse_hidden=5, location_hidden=5, glimpse_features=6, core="rnn", core_hidden=8
)
MODEL = RamConfig(RetinaConfig(3, 2), SMALL, PolicyConfig(sigma="0.3"), LossConfig())
MEAN, SCALES = np.array([0.3, -1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0, 0.1])
SHARED = [name for name in ESTIMATORS if name != "pathwise"]


def _gaussian(n, seed, offset=0.0):
    return MEAN + offset + SCALES * np.random.default_rng(seed).normal(size=(n, len(MEAN)))


def _reference(n=20_000, seed=99):
    moments = Moments(0, np.zeros(len(MEAN)), 0.0)
    for part in np.array_split(_gaussian(n, seed), 7):
        moments = moments.add(part)
    return make_reference(moments)


def test_gaussian_estimates_against_the_closed_form():
    found = [summarise(_gaussian(300, seed), _reference()) for seed in range(100)]
    variance = np.square(SCALES).sum()
    # The sample variance has itself a standard error of sqrt(2 tr(S^2) / N).
    error = np.sqrt(2 * (SCALES**4).sum() / 299)
    assert np.mean([each["variance"] for each in found]) == pytest.approx(variance, abs=4 * error / 10)
    assert found[0]["snr"] == pytest.approx(MEAN @ MEAN / variance, rel=0.2)
    assert found[0]["reference_norm"] == pytest.approx(np.linalg.norm(MEAN), rel=0.05)


def test_noise_is_not_reported_as_bias():
    found = [summarise(_gaussian(300, seed), _reference()) for seed in range(200)]
    z = np.array([each["bias_z"] for each in found])
    # On average nothing, spread as its error says, though the distance between two noisy means is never 0.
    assert abs(z.mean()) < 0.35 and 0.7 < z.std() < 1.4


def test_bias_is_found_with_its_error():
    offset = np.array([0.5, 0.0, 0.0, 0.0])
    found = [summarise(_gaussian(300, seed, offset), _reference()) for seed in range(200)]
    squares = np.array([each["bias_squared"] for each in found])
    assert squares.mean() == pytest.approx(0.25, rel=0.1)
    assert squares.std() == pytest.approx(np.mean([each["bias_squared_error"] for each in found]), rel=0.3)
    assert found[0]["bias"] == pytest.approx(0.5, rel=0.3)
    assert found[0]["relative_bias"] == pytest.approx(found[0]["bias"] / found[0]["reference_norm"])


def test_noise_of_the_reference_counts():
    rough = [summarise(_gaussian(300, seed), _reference(100, 1000 + seed)) for seed in range(200)]
    z = np.array([each["bias_z"] for each in rough])
    assert abs(z.mean()) < 0.35 and 0.7 < z.std() < 1.4
    assert np.mean([_reference(100, seed).signal for seed in range(200)]) == pytest.approx(MEAN @ MEAN, rel=0.02)


def test_exact_estimates():
    same = np.ones((4, 3))
    exact = summarise(same, make_reference(Moments(0, np.zeros(3), 0.0).add(same)))
    assert exact["variance"] == exact["bias"] == exact["bias_z"] == 0 and exact["snr"] == float("inf")


def _ram(name="plain_return", replicates=2):
    config = dataclasses.replace(MODEL, estimator=configure(name, "log_probability", replicates))
    return make_ram(config, HEIGHT, WIDTH, 1, CLASSES)


@functools.cache
def _setting():
    shapes = jax.eval_shape(_ram().model.init, KEY)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    return GradientInputs(params, IMAGES, LABELS, _ram().model.hyper)


def _estimators(names, replicates=2):
    configs = [configure(name, "log_probability", replicates) for name in names]
    # With lambda 0 an arbitrary baseline biases most.
    return [make_estimator(dataclasses.replace(config, gae_lambda=0.0)) for config in configs]


@functools.cache
def _sample(n=600):
    """Estimates of the agent with two replicates ``{name: [n, d]}``."""
    keys, setting = jax.random.split(jax.random.key(3), n), _setting()
    states = make_warm_up(_ram(), _estimators(SHARED), GLIMPSES)(setting, jax.random.split(KEY, 5))
    shared = np.asarray(make_gradients(_ram(), _estimators(SHARED))(setting, states, keys))
    pathwise = np.asarray(make_gradients(_ram("pathwise"), _estimators(["pathwise"]))(setting, [()], keys))
    return dict(zip(SHARED, shared.transpose(1, 0, 2), strict=True)) | {"pathwise": pathwise[:, 0]}


@functools.cache
def _true():
    """Of an independent sample, by the score function without any baseline."""
    keys = jax.random.split(jax.random.key(4), 6000)
    estimates = make_gradients(_ram(), _estimators(["leave_one_out"]))(_setting(), [()], keys)
    return make_reference(Moments(0, np.zeros(estimates.shape[2]), 0.0).add(np.asarray(estimates[:, 0])))


def test_an_estimate_is_the_gradient_of_the_agents_loss():
    config = dataclasses.replace(
        MODEL,
        loss=LossConfig(classification_weight=0.0, value_weight=0.0),
        estimator=EstimatorConfig("log_probability", "leave_one_out", replicates=2),
    )
    ram, setting = make_ram(config, HEIGHT, WIDTH, 1, CLASSES), _setting()
    step_input = StepInput(jnp.zeros(()), ram.model.hyper, ram.model.estimator_state)
    gradient = jax.jit(jax.grad(ram.model.loss, has_aux=True))(setting.params, KEY, IMAGES, LABELS, step_input)[0]
    expected = jax.flatten_util.ravel_pytree(gradient[NETWORK])[0]
    found = make_gradients(ram, [ram.estimator])(setting, [()], KEY[None])
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["plain_return", "moving_average", "learned_baseline", "leave_one_out"])
def test_unbiased_estimators_have_no_bias(name):
    assert abs(summarise(_sample()[name], _true())["bias_z"]) < 3.5


def test_gae_with_arbitrary_values_is_biased():
    assert summarise(_sample()["gae"], _true())["bias_z"] > 4


def test_baselines_lower_the_variance_on_the_agent():
    variance = {name: summarise(estimates, _true())["variance"] for name, estimates in _sample().items()}
    assert variance["leave_one_out"] < variance["plain_return"]
    assert variance["moving_average"] < variance["plain_return"]


def test_warm_up_averages_the_returns():
    state = make_warm_up(_ram(), _estimators(["moving_average"]), GLIMPSES)(_setting(), jax.random.split(KEY, 5))[0]
    np.testing.assert_allclose(state["weight"], 1 - 0.99**5, rtol=1e-4)
    assert np.all(np.asarray(state["mean"]) < 0)


def test_only_the_value_network_is_fitted():
    def draw(key, source):
        return source

    setting = _setting()
    fit = make_value_fit(_ram(), draw, 0.03)
    params = fit(setting, (IMAGES, LABELS), jax.random.split(KEY, 400))
    for name in params:
        same = jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params[name], setting.params[name]))
        assert same == (name != VALUE_NETWORK)
    fitted = make_gradients(_ram(), _estimators(["learned_baseline"]))
    estimates = np.asarray(fitted(setting._replace(params=params), [()], jax.random.split(jax.random.key(3), 600)))
    before, after = (summarise(each, _true())["variance"] for each in (_sample()["learned_baseline"], estimates[:, 0]))
    assert after < before
