"""The agent's loss by hand, its sigma, its extremes, and whether it learns."""

import dataclasses
import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.attention.objective import hybrid_loss, make_weights
from common.networks.cores import CORES
from common.policy_gradient import EstimatorConfig, make_estimator
from common.policy_gradient.advantages import returns_to_go
from common.policy_gradient.episode import Episode
from common.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from common.training.step import Hyper, StepInput, init_state, make_chunk, train_step
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig

HEIGHT, WIDTH, CLASSES, BATCH = 10, 12, 3, 6
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8))
LABELS = jnp.arange(BATCH) % CLASSES
KEY = jax.random.key(31)
ZERO = {"classification_weight": 0.0, "policy_weight": 0.0, "value_weight": 0.0}


def _config(agent=None, policy=None, **loss):
    small = AgentConfig(
        num_glimpses=2, glimpse_hidden=5, location_hidden=5, glimpse_features=6, core="rnn", core_hidden=8
    )
    fields = {field.name for field in dataclasses.fields(EstimatorConfig)}
    estimator = EstimatorConfig(**{name: value for name, value in loss.items() if name in fields})
    loss = LossConfig(**{name: value for name, value in loss.items() if name not in fields})
    return RamConfig(
        RetinaConfig(3, 2),
        replace(small, **agent or {}),
        replace(PolicyConfig(sigma="0.5"), **policy or {}),
        loss,
        estimator,
    )


def _step_input(model, progress=0.0):
    return StepInput(jnp.array(progress), model.hyper, model.estimator_state)


def _make(config):
    return make_ram(config, HEIGHT, WIDTH, 1, CLASSES)


def _drawn(model):
    """Return parameters drawn at random, without compiling the initialisation."""
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), jax.eval_shape(model.init, KEY)
    )


# The loss, of an episode made up for it.


def _episode(steps=3, replicates=2):
    rng = np.random.default_rng(2)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=(steps, replicates, BATCH, *shape)), jnp.float32)

    return Episode(draw(2), draw(2), draw(2), draw(2), draw(), draw(), draw(), draw(CLASSES))


def _terms(episode, **loss):
    config = _config(reward="gain", discount=0.5, **loss)
    loss, (metrics, _) = _compiled_terms(config.loss.classify_at, config.loss.label_smoothing)(
        make_weights(config.loss), episode
    )
    return loss, metrics


@functools.cache
def _compiled_terms(classify_at, label_smoothing):
    config = _config(reward="gain", discount=0.5, classify_at=classify_at, label_smoothing=label_smoothing)
    estimator = make_estimator(config.estimator)
    return jax.jit(lambda weights, episode: hybrid_loss(config.loss, weights, estimator, episode, LABELS))


def _expected_terms(episode, classify_at):
    logits = np.asarray(episode.logits, np.float64)
    beliefs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    of_labels = beliefs[:, :, np.arange(BATCH), np.asarray(LABELS)]
    classification = -(of_labels[-1] if classify_at == "last" else of_labels).mean()
    rewards = np.diff(of_labels, axis=0, prepend=-np.log(CLASSES))
    returns = np.asarray(returns_to_go(jnp.asarray(rewards, jnp.float32), 0.5))
    errors = returns - np.asarray(episode.values)
    return {
        "classification_loss": classification,
        "policy_loss": -(np.asarray(episode.log_probs) * errors).sum(axis=0).mean(),
        "value_loss": np.square(errors[1:]).mean(),
        "entropy": np.asarray(episode.entropies).sum(axis=0).mean(),
        "reward": rewards.sum(axis=0).mean(),
        "accuracy": (logits[-1].argmax(-1) == np.asarray(LABELS)).mean(),
    }


@pytest.mark.parametrize("classify_at", ["last", "every"])
def test_the_terms_of_the_loss(classify_at):
    episode = _episode()
    _, metrics = _terms(episode, classify_at=classify_at)
    for name, expected in _expected_terms(episode, classify_at).items():
        assert float(metrics[name]) == pytest.approx(float(expected), rel=1e-4, abs=1e-6), name


def test_label_smoothing_spreads_a_fraction_of_each_label_over_all_classes():
    episode = _episode()
    losses = [float(_terms(episode, label_smoothing=s)[1]["classification_loss"]) for s in (0.0, 0.1)]
    beliefs = np.asarray(jax.nn.log_softmax(episode.logits))
    of_labels = beliefs[:, :, np.arange(BATCH), np.asarray(LABELS)].mean()
    assert losses[0] != losses[1]
    assert losses == pytest.approx([-of_labels, -0.9 * of_labels - 0.1 * beliefs.mean()], rel=1e-5)


def test_each_weight_scales_its_own_term():
    episode, weights = _episode(), {"classification": 0.7, "policy": 0.3, "value": 2.0, "entropy": 0.11}
    terms = _expected_terms(episode, "every")
    signed = {
        "classification": terms["classification_loss"],
        "policy": terms["policy_loss"],
        "value": terms["value_loss"],
        "entropy": -terms["entropy"],
    }
    none = {f"{name}_weight": 0.0 for name in weights}
    assert float(_terms(episode, **none)[0]) == 0
    for name, weight in weights.items():
        loss, metrics = _terms(episode, **none | {f"{name}_weight": weight})
        assert float(loss) == pytest.approx(weight * signed[name], rel=1e-4)
        assert float(metrics["loss"]) == float(loss)
    loss, _ = _terms(episode, **{f"{name}_weight": weight for name, weight in weights.items()})
    assert float(loss) == pytest.approx(sum(weights[name] * signed[name] for name in weights), rel=1e-4)


def test_with_one_glimpse_there_is_no_location_to_learn():
    loss, metrics = _terms(_episode(steps=1)._replace(log_probs=jnp.zeros((1, 2, BATCH))))
    assert float(metrics["value_loss"]) == float(metrics["policy_loss"]) == 0
    assert float(loss) == pytest.approx(float(metrics["classification_loss"]))


# The model.


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [("linear", 0.55), ("cosine", 0.1 + 0.9 / 2), ("exponential", np.sqrt(0.1))],
)
def test_sigma_goes_from_the_first_to_the_last(schedule, middle):
    config = _config(policy={"sigma": "1.0", "sigma_final": "0.1", "sigma_schedule": schedule})
    sigma = _make(config).sigma
    for progress, expected in [(0.0, 1.0), (0.5, middle), (1.0, 0.1)]:
        np.testing.assert_allclose(sigma(jnp.array(progress)), [expected, expected], rtol=1e-5)
    quarter = float(sigma(jnp.array(0.25))[0])
    by_hand = {"linear": 0.775, "cosine": 0.1 + 0.9 * (1 + np.sqrt(0.5)) / 2, "exponential": 0.1**0.25}
    assert quarter == pytest.approx(by_hand[schedule], rel=1e-5)


def test_a_sigma_in_pixels_is_the_same_in_every_direction():
    constant = _make(_config(policy={"sigma": "3px"})).sigma
    for progress in (0.0, 1.0):
        np.testing.assert_allclose(constant(jnp.array(progress)), [6 / WIDTH, 6 / HEIGHT], rtol=1e-6)


def test_training_uses_the_scheduled_sigma_and_evaluation_the_last():
    ram = _make(_config(policy={"sigma": "0.9", "sigma_final": "0.2", "sigma_schedule": "linear"}, replicates=2))
    params = _drawn(ram.model)
    loss = jax.jit(ram.model.loss)
    for progress, sigma in [(0.0, 0.9), (1.0, 0.2)]:
        _, (metrics, _) = loss(params, KEY, IMAGES, LABELS, _step_input(ram.model, progress))
        assert float(metrics["sigma_px"]) == pytest.approx(sigma * WIDTH / 2)
        # Of a Gaussian in two dimensions; one location is drawn.
        assert float(metrics["entropy"]) == pytest.approx(np.log(2 * np.pi * np.e * sigma**2), rel=1e-4)
    # With one glimpse no location is drawn, and the metric is the scheduled sigma.
    single = _make(
        _config({"num_glimpses": 1}, {"sigma": "0.9", "sigma_final": "0.2", "sigma_schedule": "linear"})
    ).model
    _, (metrics, _) = jax.jit(single.loss)(_drawn(single), KEY, IMAGES, LABELS, _step_input(single, 1.0))
    assert float(metrics["sigma_px"]) == pytest.approx(0.2 * WIDTH / 2)
    episode = jax.jit(ram.play, static_argnums=3)(params, KEY, IMAGES, "sampled")
    np.testing.assert_allclose(episode.entropies[1], np.log(2 * np.pi * np.e * 0.2**2), rtol=1e-4)


@pytest.mark.parametrize(("locations", "first", "random"), [("centre", "centre", False), ("centre", "uniform", True)])
def test_only_episodes_at_the_centre_throughout_are_not_random(locations, first, random):
    ram = _make(_config(policy={"locations": locations, "first_location": first}))
    one, other = (ram.play(_drawn(ram.model), jax.random.key(seed), IMAGES, "sampled").locations for seed in (0, 1))
    assert ram.model.stochastic == random == bool((one != other).any())


def test_which_losses_train_a_learned_sigma():
    def gradient(params, **loss):
        learned = "global" if "log_sigma" in params["location_network"] else "no"
        model = _make(_config(policy={"learned_sigma": learned}, **loss)).model
        return jax.grad(model.loss, has_aux=True)(params, KEY, IMAGES, LABELS, _step_input(model))[0]

    params = _drawn(_make(_config(policy={"learned_sigma": "global"})).model)
    fixed = params | {"location_network": {"mean": params["location_network"]["mean"]}}
    of_bonus, of_bonus_alone, of_policy = jax.jit(
        lambda learned, fixed: (
            gradient(learned, **ZERO | {"entropy_weight": 0.5}),
            gradient(fixed, **ZERO | {"entropy_weight": 0.5}),
            gradient(learned, **ZERO | {"policy_weight": 1.0}),
        )
    )(params, fixed)
    # Entropy is log sigma_x + log sigma_y and a constant.
    np.testing.assert_allclose(of_bonus["location_network"].pop("log_sigma"), -0.5, rtol=1e-5)
    assert np.all(of_policy["location_network"]["log_sigma"] != 0)
    for leaf in jax.tree.leaves((of_bonus, of_bonus_alone)):
        np.testing.assert_array_equal(leaf, 0)


def test_predictions_are_the_last_belief():
    ram = _make(_config())

    @jax.jit
    def both(params):
        return ram.model.predict(params, KEY, IMAGES, "sampled"), ram.play(params, KEY, IMAGES, "sampled")

    logits, episode = both(_drawn(ram.model))
    assert logits.shape == (BATCH, CLASSES) and episode.logits.shape == (2, BATCH, CLASSES)
    np.testing.assert_allclose(logits, episode.logits[-1], rtol=1e-5, atol=1e-6)


def test_the_random_policy_is_random_in_every_kind_of_episode():
    ram = _make(_config(policy={"locations": "random"}))
    params = _drawn(ram.model)
    kinds = ("greedy", "sampled")
    episodes = jax.jit(lambda p: [ram.play(p, KEY, IMAGES, kind) for kind in kinds])(params)
    for episode in episodes:
        np.testing.assert_array_equal(episode.locations, episodes[0].locations)
        np.testing.assert_array_equal(episode.log_probs, 0)
    assert len(np.unique(episodes[0].locations[1])) == 2 * BATCH
    _, (metrics, _) = jax.jit(ram.model.loss)(params, KEY, IMAGES, LABELS, _step_input(ram.model))
    assert float(metrics["policy_loss"]) == float(metrics["entropy"]) == 0


@pytest.mark.parametrize("part", ["reward", "advantage", "surrogate"])
def test_an_unknown_part_of_the_estimator_is_quoted(part):
    with pytest.raises(ValueError, match=f"unknown {part} 'nonsense'"):
        _make(_config(**{part: "nonsense"}))


@pytest.mark.parametrize("core", CORES)
def test_the_agent_uses_every_core(core):
    model = _make(_config({"core": core, "core_heads": 2}, replicates=2)).model
    params = jax.eval_shape(model.init, KEY)
    gradient = jax.eval_shape(jax.grad(model.loss, has_aux=True), params, KEY, IMAGES, LABELS, _step_input(model))[0]
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)


def test_finite_at_the_extremes():
    # Sigma falls from much wider than the image to a thousandth of it.
    policy = {"sigma": f"{50 * WIDTH}px", "sigma_final": "0.001", "sigma_schedule": "linear", "learned_sigma": "global"}
    loss = {"entropy_weight": 0.1, "replicates": 2, "advantage": "leave_one_out", "reward": "gain"}
    model = _make(_config({"core": "lstm"}, policy, **loss)).model
    gradient = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
    params = jax.jit(model.init)(KEY)
    for images in (IMAGES, jnp.zeros_like(IMAGES), jnp.full_like(IMAGES, 255)):
        for progress in (0.0, 1.0):
            results = gradient(params, KEY, images, LABELS, _step_input(model, progress))
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


# Learning.


@functools.cache
def _trained(config, problem, steps, learning_rate=0.01, chunks=1, size=16):
    """Parameters, metrics and model after training on ``problem: (key, batch) -> (images, labels)``."""
    ram = make_ram(config, size, size, 1, 2)
    optimizer = make_optimizer(OptimizerConfig())
    schedule = functools.partial(make_schedule, OptimizerConfig(), steps, 1.0)
    step = train_step(ram.model, optimizer, schedule, problem, steps)
    hyper = Hyper(jnp.float32(learning_rate), ram.model.hyper)
    state, chunk = init_state(ram.model, optimizer, 0), make_chunk(lambda state, source: step(state, source, hyper))
    for _ in range(chunks):
        state, metrics = chunk(state, None, steps // chunks)
    return state.params, metrics, ram


def _off_centre(key, source, batch=32):
    """Two classes: a patch on the right edge is white or black, where a glimpse at the centre sees none of it."""
    labels = jax.random.bernoulli(key, 0.5, (batch,)).astype(jnp.int32)
    patch = (255 * labels).astype(jnp.uint8)[:, None, None, None]
    return jnp.zeros((batch, 16, 16, 1), jnp.uint8).at[:, 5:11, 11:].set(patch), labels


OFF_CENTRE = RamConfig(
    RetinaConfig(4, 1),
    AgentConfig(num_glimpses=2, glimpse_hidden=8, location_hidden=8, glimpse_features=16, core="rnn", core_hidden=16),
    PolicyConfig(sigma="0.4", sigma_final="0.1", sigma_schedule="linear"),
    estimator=EstimatorConfig(reward="log_probability"),
)


def test_the_agent_learns_where_to_look():
    params, metrics, ram = _trained(OFF_CENTRE, _off_centre, 200)
    images, labels = _off_centre(jax.random.key(1), None)
    episode = jax.jit(ram.play, static_argnums=3)(params, KEY, images, "greedy")
    first, last = np.asarray((episode.logits.argmax(-1) == labels[None]).mean(axis=-1))
    assert first < 0.8 and last == 1
    assert (np.asarray(episode.locations[1])[:, 0] > 0.25).all()
    assert float(metrics["accuracy"][-50:].mean()) > 0.95


def test_the_division_into_chunks_changes_no_bit():
    whole, metrics, _ = _trained(OFF_CENTRE, _off_centre, 200)
    halves, later, _ = _trained(OFF_CENTRE, _off_centre, 200, chunks=2)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in later.items():
        np.testing.assert_array_equal(metrics[name][100:], values)
