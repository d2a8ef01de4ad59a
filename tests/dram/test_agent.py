"""The agent against NumPy, its first location, its ablations and its units."""

import functools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.attention.base import LocationChoice
from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.attention.glimpse import make_sensor
from common.attention.locations import FIRST_LOCATIONS
from common.attention.objective import Weights
from common.attention.rollout import unroll
from common.networks.cores import CORE
from common.networks.glimpse_networks import GLIMPSE_GAIN
from common.policy_gradient import EstimatorConfig
from common.training.step import StepInput
from dram.agent import Dram, make_agent, make_dram
from dram.config import AgentConfig, DramConfig
from dram.networks import coarse

HEIGHT, WIDTH, CLASSES, BATCH, EACH, TARGETS = 10, 12, 4, 6, 2, 2
STEPS = EACH * TARGETS
# Noise on squares of several brightnesses, in which coarse images differ too.
_RNG = np.random.default_rng(0)
_SQUARES = np.kron(_RNG.integers(0, 200, (BATCH, 2, 2)), np.ones((1, HEIGHT // 2, WIDTH // 2), int))
IMAGES = jnp.asarray((_SQUARES + _RNG.integers(0, 56, (BATCH, HEIGHT, WIDTH)))[..., None].astype(np.uint8))
LABELS = jnp.array([[0, 3], [1, 2], [3, 3], [2, 3], [0, 1], [3, 3]])
SAMPLES = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (STEPS, BATCH, 2)), jnp.float32)
KEY = jax.random.key(31)
SMALL = AgentConfig(EACH, glimpse_features=6, core="rnn", lower_hidden=7, upper_hidden=5)
SMALL = replace(SMALL, context_size=8, context_channels=4)
# What 1 of a location is, normalised in x and y.
UNITS = {"1": (1.0, 1.0), "3px": (6 / WIDTH, 6 / HEIGHT)}
CONTEXT = {"context_network", "context_state_0"}


def _config(agent=None, policy=None, estimator=None):
    policy = replace(PolicyConfig(sigma="0.5"), **policy or {})
    estimator = EstimatorConfig(**{"reward": "gain"} | (estimator or {}))
    return DramConfig(RetinaConfig(3, 2), replace(SMALL, **agent or {}), policy, LossConfig(), estimator)


def _make(config, targets=TARGETS):
    return make_dram(config, HEIGHT, WIDTH, 1, CLASSES, targets)


@functools.cache
def _shapes(config):
    return jax.eval_shape(_make(config).model.init, KEY)


@functools.cache
def _params(config):
    """Random parameters, biases included."""
    leaves, tree = jax.tree.flatten(_shapes(config))
    rng = np.random.default_rng(2)
    return tree.unflatten([jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for leaf in leaves])


def _step_input(model, played=None):
    return StepInput(jnp.zeros(()), model.hyper, model.estimator_state, played)


@functools.cache
def _compiled(config):
    """An episode at `SAMPLES`: ``params -> Episode``."""
    agent = make_agent(Dram(config, CLASSES, UNITS[config.agent.unit_width]), IMAGES)
    retina = _make(config).retina
    play = functools.partial(unroll, agent, sensor=make_sensor(IMAGES, retina), key=KEY, batch_size=BATCH)
    choice = LocationChoice(FIRST_LOCATIONS["centre"], "replayed", samples=SAMPLES)
    return jax.jit(lambda params: play(params, num_glimpses=STEPS, choice=choice, sigma=jnp.full(2, 0.5)))


# The agent, by hand.


def _dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0.0))


def _relu(x):
    return np.maximum(x, 0)


def _step(params, state, x):
    """One step of the core, an LSTM or a ReLU core; the last part of a state is its output."""
    if "cell" not in params:
        return [_relu(_dense(params["recurrent"], state[0]) + _dense(params["input"], x))]
    gates = {n: _dense(params["cell"][f"i{n}"], x) + _dense(params["cell"][f"h{n}"], state[1]) for n in "ifgo"}
    keep, write, show = (1 / (1 + np.exp(-gates[n])) for n in "fio")
    cell = keep * state[0] + write * np.tanh(gates["g"])
    return [cell, show * np.tanh(cell)]


def _context(params, agent):
    x = GLIMPSE_GAIN * np.asarray(coarse(IMAGES, agent.context_size))
    network = params["context_network"]
    for index, stride in enumerate((2, 2, 1)):
        kernel, side = np.asarray(network[f"layer_{index}"]["kernel"]), x.shape[1]
        needed = max((-(-side // stride) - 1) * stride + 3 - side, 0)
        pad = (needed // 2, needed - needed // 2)
        padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
        x = _relu(np.einsum("nhwcij,ijcd->nhwd", windows, kernel) + np.asarray(network[f"layer_{index}"]["bias"]))
    x = x.reshape(BATCH, -1)
    return [np.tanh(_dense(params[f"context_state_{i}"], x)) for i in range(2 if agent.core == "lstm" else 1)]


def _by_hand(params, config):
    """Means, baselines and logits of the episode at the given locations, ``[T, B, ...]``."""
    agent, see = config.agent, make_sensor(IMAGES, _make(config).retina)
    count = 2 if agent.core == "lstm" else 1
    lower = [np.zeros((BATCH, agent.lower_hidden))] * count
    upper = [np.zeros((BATCH, agent.upper_hidden))] * count if agent.two_layers else lower
    if agent.context:
        upper = _context(params, agent)
        lower = lower if agent.two_layers else upper
    unit, (means, baselines, logits) = np.float32(UNITS[agent.unit_width]), ([], [], [])
    for t in range(STEPS):
        if t or agent.context:
            means.append(unit * np.tanh(_dense(params["location_network"]["mean"], upper[-1])))
            baselines.append(_dense(params["baseline_network"]["value"], upper[-1])[:, 0])
        else:  # The start policy's.
            means.append(np.asarray(SAMPLES[0]))
            baselines.append(np.zeros(BATCH))
        what = np.moveaxis(np.asarray(see(SAMPLES[t])), 1, 3).reshape(BATCH, -1)
        what = _relu(_dense(params["glimpse_network"]["what"], GLIMPSE_GAIN * what))
        where = _relu(_dense(params["glimpse_network"]["where"], np.asarray(SAMPLES[t]) / unit))
        seen = what * where if agent.combine == "multiply" else what + where
        lower = _step(params["lower"], lower, seen)
        upper = _step(params["upper"], upper, lower[-1]) if agent.two_layers else lower
        logits.append(_dense(params["action_network"]["logits"], lower[-1]))
    return means, baselines, logits


@pytest.mark.parametrize(
    "agent",
    [{"core": "lstm"}, {"context": False}, {"two_layers": False}, {"combine": "add", "unit_width": "3px"}],
    ids=["lstm", "without_context", "one_layer", "additive_in_pixels"],
)
def test_an_episode_equals_numpy(agent):
    config = _config(agent)
    episode = _compiled(config)(_params(config))
    means, baselines, logits = _by_hand(_params(config), config)
    for found, expected in ((episode.modes, means), (episode.values, baselines), (episode.logits, logits)):
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-3, atol=1e-4)
    assert np.abs(np.stack(means)).max() < 1 and np.asarray(logits).std() > 0.1


def test_the_parameters_have_the_expected_names():
    heads = {"location_network", "action_network", "baseline_network"}
    both = {"glimpse_network", "lower", "upper"}
    lstm = CONTEXT | {"context_state_1"}
    assert _shapes(_config()).keys() == heads | both | CONTEXT
    assert _shapes(_config({"core": "lstm"})).keys() == heads | both | lstm
    assert _shapes(_config({"core": "gru"})).keys() == heads | both | CONTEXT
    assert _shapes(_config({"context": False})).keys() == heads | both
    assert _shapes(_config({"two_layers": False})).keys() == heads | {"glimpse_network", "lower"} | CONTEXT
    shapes = _shapes(_config())
    assert shapes["action_network"]["logits"]["kernel"].shape == (SMALL.lower_hidden, CLASSES)
    assert shapes["location_network"]["mean"]["kernel"].shape == (SMALL.upper_hidden, 2)
    assert shapes["baseline_network"]["value"]["kernel"].shape == (SMALL.upper_hidden, 1)
    assert shapes["context_state_0"]["kernel"].shape[1] == SMALL.upper_hidden
    one = _shapes(_config({"two_layers": False}))
    assert one["location_network"]["mean"]["kernel"].shape == (SMALL.lower_hidden, 2)


@pytest.mark.parametrize("two_layers", [True, False])
def test_the_classifier_never_sees_the_context(two_layers):
    config = _config({"two_layers": two_layers})
    params = _params(config)
    changed = params | {name: jax.tree.map(lambda leaf: -leaf, params[name]) for name in CONTEXT}
    before, after = (_compiled(config)(p) for p in (params, changed))
    # One core alone does both, so that there it does see it.
    np.testing.assert_array_equal((before.logits == after.logits).all(), two_layers)
    for field in ("modes", "values"):
        assert (getattr(before, field)[0] != getattr(after, field)[0]).any()


# The first location.


@functools.cache
def _plays(context):
    config = _config({"context": context})
    dram = _make(config)
    kinds = ("greedy", "sampled", "random")

    @jax.jit
    def play(params, images, key):
        return {kind: dram.play(params, key, images, kind) for kind in kinds}

    return play, _params(config)


def test_with_context_the_policy_draws_the_first_location():
    play, params = _plays(True)
    episodes, others = play(params, IMAGES, KEY), play(params, IMAGES[::-1], jax.random.key(1))
    greedy, sampled, random = (episodes[kind] for kind in ("greedy", "sampled", "random"))
    np.testing.assert_array_equal(greedy.samples[0], greedy.modes[0])
    # It depends on the image alone, and differs between images.
    np.testing.assert_allclose(greedy.samples[0], others["greedy"].samples[0, ::-1], atol=1e-6)
    assert np.asarray(greedy.samples[0]).std(axis=0).min() > 1e-3
    np.testing.assert_allclose(sampled.modes[0], greedy.modes[0], rtol=1e-6)
    assert (np.asarray(sampled.samples[0]) != np.asarray(others["sampled"].samples[0, ::-1])).all()
    expected = stats.norm.logpdf(sampled.samples, sampled.modes, 0.5).sum(-1)
    np.testing.assert_allclose(sampled.log_probs, expected, rtol=1e-4)
    np.testing.assert_array_equal(sampled.sigmas, 0.5)
    assert np.asarray(sampled.values[0]).all() and np.asarray(sampled.entropies[0]).all()
    for episode in (greedy, random):
        np.testing.assert_array_equal(episode.log_probs, 0)
    assert len(np.unique(random.samples[0])) == 2 * BATCH and np.abs(random.samples).max() <= 1
    again = play(params, IMAGES[::-1], KEY)["random"]
    np.testing.assert_array_equal(again.samples, random.samples)


def test_without_context_the_first_location_is_fixed():
    play, params = _plays(False)
    for episode in play(params, IMAGES, KEY).values():
        for field in ("samples", "log_probs", "values", "entropies", "sigmas"):
            np.testing.assert_array_equal(getattr(episode, field)[0], 0)


def test_replicates_draw_first_locations_of_their_own_from_one_mean():
    config = _config(estimator={"replicates": 3})
    dram = _make(config)
    episode = jax.jit(dram.rollout)(_params(config), KEY, IMAGES, _step_input(dram.model))
    assert episode.samples.shape == (STEPS, 3, BATCH, 2)
    np.testing.assert_allclose(episode.modes[0, 0], episode.modes[0, 2], rtol=1e-6)
    assert np.abs(np.diff(np.asarray(episode.samples[0]), axis=0)).min() > 0
    expected = stats.norm.logpdf(episode.samples, episode.modes, 0.5).sum(-1)
    np.testing.assert_allclose(episode.log_probs, expected, rtol=1e-4)


def _convolutions(jaxpr):
    """Shapes of what is convolved, anywhere in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.invars[0].aval.shape
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _convolutions(inner)


def test_replicates_share_the_context():
    config = _config(estimator={"replicates": 5})
    dram = _make(config)
    program = jax.make_jaxpr(dram.rollout)(_params(config), KEY, IMAGES, _step_input(dram.model))
    found = list(_convolutions(program.jaxpr))
    assert len(found) == 3 and all(shape[0] == BATCH for shape in found)


# Gradients of the ablations; those that hold for every agent are in tests/test_gradient_rules.py.

ABLATIONS = {
    "stopped": {"stop_gradient": True},
    "one_layer": {"two_layers": False},
    "without_context": {"context": False},
}


@functools.cache
def _gradient(config):
    """The gradient of the loss, ``(params, weights) -> gradient``."""
    model = _make(config).model

    def loss(params, weights):
        step_input = _step_input(model)._replace(hyper=model.hyper._replace(weights=weights))
        return model.loss(params, KEY, IMAGES, LABELS, step_input)[0]

    return jax.jit(jax.grad(loss))


def _moved(ablation, kind):
    """Names of the networks that a part of the loss has a gradient to."""
    config = _config(ABLATIONS[ablation])
    gradient = _gradient(config)(_params(config), Weights(*(float(name == kind) for name in Weights._fields)))
    return {name for name, part in gradient.items() if any(np.any(leaf) for leaf in jax.tree.leaves(part))}


@pytest.mark.parametrize(
    ("ablation", "kind", "networks"),
    [
        ("stopped", "policy", CONTEXT | {"upper", "location_network"}),
        ("stopped", "value", {"baseline_network"}),
        ("stopped", "classification", {"lower", "glimpse_network", "action_network"}),
        ("one_layer", "policy", CONTEXT | {"lower", "glimpse_network", "location_network"}),
        ("one_layer", "classification", CONTEXT | {"lower", "glimpse_network", "action_network"}),
        ("without_context", "policy", {"upper", "lower", "glimpse_network", "location_network"}),
    ],
)
def test_which_networks_an_ablation_trains(ablation, kind, networks):
    assert _moved(ablation, kind) == networks


def test_the_unit_of_a_location_is_that_of_the_configuration():
    def first(unit):
        dram = _make(_config({"unit_width": unit, "glimpses_per_target": 1}), None)
        play = jax.jit(dram.play, static_argnums=3)
        return np.asarray(play(_params(_config()), KEY, IMAGES, "greedy").modes[0])

    np.testing.assert_allclose(first("3px"), first("1") * np.float32(UNITS["3px"]), rtol=1e-5)


def _counting_core(**changes):
    class Counting(nn.Module):
        """A recurrent core with a step counter, whose initial state may have other arrays."""

        hidden: int
        num_glimpses: int

        def initial_state(self, batch_shape):
            state = {"output": jnp.zeros((*batch_shape, self.hidden)), "step": jnp.zeros((), int)}
            return state | {name: make(batch_shape) for name, make in changes.items()}

        @nn.compact
        def __call__(self, state, features):
            output = jnp.tanh(nn.Dense(self.hidden)(features) + nn.Dense(self.hidden)(state["output"]))
            return state | {"output": output, "step": state["step"] + 1}, output

    return Counting


@pytest.mark.parametrize("two_layers", [True, False])
def test_the_context_leaves_whole_numbers_of_a_state_as_they_are(monkeypatch, two_layers):
    monkeypatch.setitem(CORE.built_in, "counting", _counting_core())
    config = _config({"core": "counting", "two_layers": two_layers})
    agent, params = make_agent(Dram(config, CLASSES, num_glimpses=STEPS), IMAGES), _params(config)
    state = agent.initial_state(params, BATCH)
    top = state.upper if two_layers else state.lower
    assert top["step"].dtype == jnp.int32 and top["step"] == 0 and np.abs(top["output"]).min() > 0
    np.testing.assert_array_equal(agent.glance(params, state).upper, top["output"])
    assert np.isfinite(_make(config).play(params, KEY, IMAGES, "sampled").logits).all()


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"output": lambda batch: jnp.zeros((*batch, 3))}, "{output: float32[1, 3], step: int32[]}"),
        ({"scale": lambda batch: jnp.ones(())}, "{output: float32[1, 5], scale: float32[], step: int32[]}"),
        ({"output": lambda batch: jnp.zeros((*batch, 5), int)}, "{output: int32[1, 5], step: int32[]}"),
    ],
)
def test_a_state_that_the_context_cannot_compute_is_refused(monkeypatch, changes, state):
    monkeypatch.setitem(CORE.built_in, "counting", _counting_core(**changes))
    with pytest.raises(ValueError) as error:
        jax.eval_shape(_make(_config({"core": "counting"})).model.init, KEY)
    assert str(error.value) == (
        f"the initial_state of the core returned {state}: with context its floating-point arrays must be [*batch, D], "
        "and the last one [*batch, hidden], here [1, 5]"
    )
