"""Unrolling and replication, with an agent whose output repeats what it was shown."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.attention.base import Agent, LocationChoice
from common.attention.glimpse import Retina, glimpse, make_sensor, summed_area_table
from common.attention.location_policies import GaussianPolicy
from common.attention.locations import FIRST_LOCATIONS
from common.attention.rollout import replicate, unroll

KEY = jax.random.key(11)
HEIGHT, WIDTH, BATCH, RETINA = 9, 12, 1_000, Retina(2, 2)
SEEN = RETINA.scales * RETINA.size**2
PARAMS = {"gain": jnp.float32(0.5), "shift": jnp.array([0.2, -0.4])}
SIGMA = jnp.array([0.3, 0.8])


def _perceive(params, state, glimpses, locations):
    """Output ``[location (2), glimpse (K G G C), sum of the glimpses so far (K G G C)]``."""
    seen = glimpses.reshape(glimpses.shape[0], -1)
    state = state + seen
    return state, jnp.concatenate([locations, seen, state], axis=-1)


ECHO = Agent(
    initial_state=lambda params, batch_size: jnp.zeros((batch_size, SEEN)),
    perceive=_perceive,
    locate=lambda params, output, sigma: GaussianPolicy(
        params["gain"] * output[:, :2] + jnp.broadcast_to(params["shift"], output[:, :2].shape),
        sigma,
    ),
    classify=lambda params, output: output,
    value=lambda params, output: 10 + output[..., -1],
)


@functools.cache
def _tables(seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (BATCH, HEIGHT, WIDTH, 1), dtype=np.uint8)
    return jax.jit(jax.vmap(summed_area_table))(jnp.asarray(images))


def _sensor(tables, retina=RETINA):
    return lambda locations: jax.vmap(glimpse, in_axes=(0, 0, None))(tables, locations, retina)


@functools.partial(jax.jit, static_argnames=("num_glimpses", "start", "kind", "mirrored"))
def _play(tables, key, params, sigma, num_glimpses=3, start="uniform", kind="sampled", samples=None, mirrored=False):
    choice = LocationChoice(FIRST_LOCATIONS[start], kind, samples=samples, mirrored=mirrored)
    play = functools.partial(unroll, ECHO, params, batch_size=BATCH, num_glimpses=num_glimpses, choice=choice)
    return play(_sensor(tables), key, sigma=sigma)


def _episode(tables=None, key=KEY, params=PARAMS, sigma=SIGMA, **kwargs):
    return _play(_tables() if tables is None else tables, key, params, sigma, **kwargs)


@jax.jit
def _replicates(tables, key):
    return replicate(lambda k: _play(tables, k, PARAMS, SIGMA), key, 2)


@pytest.mark.parametrize("kind", ["sampled", "greedy", "random", "centre"])
@pytest.mark.parametrize("num_glimpses", [1, 3])
def test_shapes_of_one_episode(num_glimpses, kind):
    episode = _episode(num_glimpses=num_glimpses, kind=kind)
    leading = (num_glimpses, BATCH)
    for field in ("locations", "samples", "modes"):
        assert getattr(episode, field).shape == (*leading, 2)
    for field in ("log_probs", "entropies", "values"):
        assert getattr(episode, field).shape == leading
    assert episode.logits.shape == (*leading, 2 + 2 * SEEN)
    assert all(np.isfinite(leaf).all() for leaf in episode)


def test_replicates_are_the_second_axis():
    episode = _replicates(_tables(), KEY)
    assert episode.locations.shape == (3, 2, BATCH, 2)
    assert episode.log_probs.shape == episode.values.shape == (3, 2, BATCH)
    assert episode.logits.shape == (3, 2, BATCH, 2 + 2 * SEEN)


def test_replicates_equal_separate_episodes_with_their_keys():
    tables, many = _tables(), _replicates(_tables(), KEY)
    for index, key in enumerate(jax.random.split(KEY, 2)):
        for field, one in _episode(tables, key)._asdict().items():
            np.testing.assert_allclose(getattr(many, field)[:, index], one, rtol=1e-5, atol=1e-5, err_msg=field)


def test_replicates_are_independent():
    episode = _replicates(_tables(), KEY)
    noise = np.asarray(episode.samples - episode.modes)[1:] / np.asarray(SIGMA)
    for t in range(2):
        first, second = noise[t, 0].ravel(), noise[t, 1].ravel()
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)
        assert stats.kstest(first, "norm").pvalue > 1e-3
    # Nor does the noise of one glimpse repeat in the next, or of one image in another.
    assert abs(np.corrcoef(noise[0, 0].ravel(), noise[1, 0].ravel())[0, 1]) < 5 / np.sqrt(noise[0, 0].size)
    assert len(np.unique(noise[0, 0, :, 0])) > BATCH - 5


@pytest.mark.parametrize("kind", ["sampled", "greedy", "random", "centre"])
def test_each_glimpse_is_taken_at_its_location(kind):
    tables, episode = _tables(), _episode(kind=kind)
    see = jax.jit(jax.vmap(jax.vmap(glimpse, in_axes=(0, 0, None)), in_axes=(None, 0, None)), static_argnums=2)
    seen = np.asarray(see(tables, episode.locations, RETINA)).reshape(3, BATCH, SEEN)
    np.testing.assert_array_equal(episode.logits[..., :2], episode.locations)
    np.testing.assert_allclose(episode.logits[..., 2 : 2 + SEEN], seen, atol=1e-6)
    # The state has gone from glimpse to glimpse.
    np.testing.assert_allclose(episode.logits[..., 2 + SEEN :], seen.cumsum(axis=0), atol=1e-5)


def test_each_mean_comes_from_the_glimpse_before():
    episode = _episode()
    expected = 0.5 * np.asarray(episode.locations[:-1]) + [0.2, -0.4]
    np.testing.assert_allclose(episode.modes[1:], expected, atol=1e-6)


def test_locations_are_the_clipped_samples():
    episode = _episode(sigma=jnp.array([1.5, 2.5]))
    assert np.abs(episode.samples).max() > 1
    np.testing.assert_array_equal(episode.locations, np.clip(episode.samples, -1, 1))


def test_log_probs_and_entropies_are_those_of_the_unclipped_samples():
    sigma = np.array([1.5, 2.5], np.float32)
    episode = _episode(sigma=jnp.asarray(sigma))
    expected = stats.norm.logpdf(episode.samples, episode.modes, sigma).sum(-1)
    np.testing.assert_allclose(episode.log_probs[1:], expected[1:], rtol=1e-4)
    of_clipped = stats.norm.logpdf(episode.locations, episode.modes, sigma).sum(-1)
    assert np.abs(of_clipped - expected)[1:].max() > 0.1
    np.testing.assert_allclose(episode.entropies[1:], stats.norm.entropy(0, sigma).sum(), rtol=1e-5)


@pytest.mark.parametrize("start", FIRST_LOCATIONS)
@pytest.mark.parametrize("num_glimpses", [1, 3])
def test_a_fixed_first_location_has_no_log_probability(start, num_glimpses):
    episode = _episode(start=start, num_glimpses=num_glimpses)
    for field in ("log_probs", "entropies", "values"):
        np.testing.assert_array_equal(getattr(episode, field)[0], 0)
        assert (np.asarray(getattr(episode, field)[1:]) != 0).all()
    np.testing.assert_array_equal(episode.samples[0], episode.locations[0])


def test_values_are_predicted_before_the_location_is_drawn():
    episode = _episode()
    np.testing.assert_allclose(episode.values[1:], 10 + np.asarray(episode.logits[:-1, ..., -1]), rtol=1e-6)


def test_first_locations():
    np.testing.assert_array_equal(_episode(start="centre").locations[0], 0)
    first = np.asarray(_episode(_tables(), start="uniform", num_glimpses=1).locations[0])
    for axis in range(2):
        assert stats.kstest(first[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3


def test_greedy_follows_the_means():
    episode = _episode(kind="greedy")
    np.testing.assert_array_equal(episode.samples, episode.modes)
    np.testing.assert_array_equal(episode.log_probs, 0)
    np.testing.assert_array_equal(episode.entropies, 0)
    # Noise is not drawn: after the start, neither the key nor sigma matters.
    centred = _episode(kind="greedy", start="centre")
    other = _episode(kind="greedy", start="centre", key=jax.random.key(5), sigma=3 * SIGMA)
    np.testing.assert_array_equal(centred.locations, other.locations)
    np.testing.assert_array_equal(centred.locations[1], np.tile(np.float32([0.2, -0.4]), (BATCH, 1)))


def test_a_greedy_mean_off_the_image_is_clipped():
    episode = _episode(kind="greedy", params=PARAMS | {"shift": jnp.array([3.0, 0.0])})
    np.testing.assert_array_equal(episode.samples[1:, :, 0] > 1, True)
    np.testing.assert_array_equal(episode.locations[1:, :, 0], 1)


def test_random_locations_are_uniform_for_any_agent():
    episode = _episode(_tables(), kind="random")
    points = np.asarray(episode.locations)
    for t in range(3):
        for axis in range(2):
            assert stats.kstest(points[t, :, axis], "uniform", args=(-1, 2)).pvalue > 1e-3
    assert abs(np.corrcoef(points[1, :, 0], points[2, :, 0])[0, 1]) < 5 / np.sqrt(BATCH)
    np.testing.assert_array_equal(episode.log_probs, 0)
    other = _episode(_tables(), kind="random", params=PARAMS | {"shift": jnp.array([0.9, 0.9])})
    np.testing.assert_array_equal(other.locations, episode.locations)


def test_the_control_at_the_centre_takes_every_glimpse_there():
    episode = _episode(_tables(), kind="centre", start="centre")
    np.testing.assert_array_equal(episode.locations, 0)
    np.testing.assert_array_equal(episode.log_probs, 0)


@pytest.mark.parametrize("glancing", [False, True])
@pytest.mark.parametrize("num_glimpses", [1, 3])
def test_no_location_is_drawn_that_no_glimpse_uses(num_glimpses, glancing):
    calls = {"perceive": 0, "locate": 0}

    def counted(name):
        def function(*args):
            jax.debug.callback(lambda: calls.__setitem__(name, calls[name] + 1))
            return getattr(ECHO, name)(*args)

        return function

    agent = (GLANCING if glancing else ECHO)._replace(perceive=counted("perceive"), locate=counted("locate"))
    choice = LocationChoice(FIRST_LOCATIONS["centre"])
    play = functools.partial(unroll, agent, batch_size=BATCH, num_glimpses=num_glimpses, choice=choice, sigma=SIGMA)
    jax.block_until_ready(jax.jit(lambda tables: play(PARAMS, _sensor(tables), KEY))(_tables()))
    jax.effects_barrier()
    assert calls == {"perceive": num_glimpses, "locate": num_glimpses - 1 + glancing}


def test_beliefs_depend_on_the_glimpses_so_far_only():
    # Random locations do not depend on the image, so the pixel under one glimpse alone can be changed.
    choice = LocationChoice(FIRST_LOCATIONS["centre"], "random")
    of_pixel = functools.partial(unroll, ECHO, PARAMS, batch_size=1, num_glimpses=4, choice=choice, sigma=SIGMA)
    play = jax.jit(lambda image: of_pixel(make_sensor(image[None], Retina(1)), jax.random.key(2)))
    image = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    before = play(jnp.asarray(image))
    pixels = np.floor((np.asarray(before.locations[:, 0]) + 1) / 2 * [WIDTH, HEIGHT]).astype(int)
    assert len({tuple(pixel) for pixel in pixels}) == 4
    for t, (x, y) in enumerate(pixels):
        changed = image.copy()
        changed[y, x] = 255
        same = np.asarray(play(jnp.asarray(changed)).logits == before.logits).all(axis=(1, 2))
        np.testing.assert_array_equal(same, np.arange(4) < t)


def test_images_of_a_batch_do_not_mix():
    tables = _tables()
    changed = jnp.concatenate([tables[:1], _tables(seed=1)[1:]])
    before, after = _episode(tables), _episode(changed)
    np.testing.assert_array_equal(after.logits[:, 0], before.logits[:, 0])
    assert (np.asarray(after.logits[:, 1:]) != np.asarray(before.logits[:, 1:])).any()


@pytest.mark.parametrize("kind", ["greedy", "random"])
def test_no_gradient_reaches_locations_that_are_not_sampled(kind):
    def total(params):
        episode = _episode(params=params, kind=kind)
        return episode.locations.sum() + episode.logits.sum()

    for leaf in jax.tree.leaves(jax.grad(total)(PARAMS)):
        np.testing.assert_array_equal(leaf, 0)


def test_the_value_network_learns_from_detached_features():
    def perceive(params, state, glimpses, locations):
        state, output = _perceive(params, state, glimpses, locations)
        return state, params["gain"] * output

    choice = LocationChoice(FIRST_LOCATIONS["centre"])
    play = functools.partial(unroll, ECHO._replace(perceive=perceive), batch_size=BATCH, num_glimpses=2, choice=choice)

    def totals(params):
        episode = play(params, _sensor(_tables()), KEY, sigma=SIGMA)
        return episode.values.sum(), episode.logits.sum()

    of_baselines, of_logits = jax.jit(jax.jacrev(totals))(PARAMS)
    assert float(of_baselines["gain"]) == 0 and float(of_logits["gain"]) != 0


def test_an_unknown_kind_of_choice_is_refused():
    with pytest.raises(ValueError, match="'sample'.*sampled, greedy, random"):
        _episode(kind="sample")


def test_a_replayed_episode_equals_the_episode_of_its_samples():
    first = _episode()
    again = _episode(kind="replayed", samples=first.samples, key=jax.random.key(1))
    for field, value in first._asdict().items():
        np.testing.assert_allclose(getattr(again, field), value, rtol=1e-5, atol=1e-6, err_msg=field)
    # Under another policy the places are the same and their probabilities are not.
    other = _episode(kind="replayed", samples=first.samples, params=PARAMS | {"shift": jnp.array([0.5, 0.5])})
    np.testing.assert_array_equal(other.locations, first.locations)
    expected = stats.norm.logpdf(first.samples[1:], other.modes[1:], other.sigmas[1:]).sum(-1)
    np.testing.assert_allclose(other.log_probs[1:], expected, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(other.log_probs - first.log_probs)).max() > 0.1


def test_sigmas_are_those_of_the_policy():
    np.testing.assert_array_equal(_episode().sigmas[1:], np.broadcast_to(SIGMA, (2, BATCH, 2)))
    np.testing.assert_array_equal(_episode().sigmas[0], 0)
    np.testing.assert_array_equal(_episode(kind="random").sigmas, 0)


def test_antithetic_replicates_mirror_the_noise():
    tables = _tables()

    def play(key, mirrored):
        choice = LocationChoice(FIRST_LOCATIONS["uniform"], mirrored=mirrored)
        unroll_echo = functools.partial(unroll, ECHO, PARAMS, batch_size=BATCH, num_glimpses=3, choice=choice)
        return unroll_echo(_sensor(tables), key, sigma=SIGMA)

    episode = jax.jit(lambda key: replicate(play, key, 4, antithetic=True))(KEY)
    noise = np.asarray(episode.samples - episode.modes)
    np.testing.assert_array_equal(episode.samples[0, :2], episode.samples[0, 2:])
    np.testing.assert_allclose(noise[1:, :2], -noise[1:, 2:], atol=1e-6)
    assert np.abs(noise[1:, 0] - noise[1:, 1]).min() > 0
    expected = stats.norm.logpdf(episode.samples[1:], episode.modes[1:], SIGMA).sum(-1)
    np.testing.assert_allclose(episode.log_probs[1:], expected, rtol=1e-3, atol=1e-4)


# An agent that glances draws its first location from its policy too.

GLANCED = 0.6
GLANCING = ECHO._replace(glance=lambda params, state: jnp.full((BATCH, 2 + 2 * SEEN), GLANCED * params["gain"]))


@functools.partial(jax.jit, static_argnames=("num_glimpses", "kind"))
def _glance(tables, key, params, num_glimpses=3, kind="sampled", samples=None):
    choice = LocationChoice(FIRST_LOCATIONS["uniform"], kind, samples=samples)
    play = functools.partial(unroll, GLANCING, params, batch_size=BATCH, num_glimpses=num_glimpses, choice=choice)
    return play(_sensor(tables), key, sigma=SIGMA)


@pytest.mark.parametrize("kind", ["sampled", "greedy", "random"])
@pytest.mark.parametrize("num_glimpses", [1, 3])
def test_the_first_location_comes_from_the_glance(num_glimpses, kind):
    episode = _glance(_tables(), KEY, PARAMS, num_glimpses, kind)
    # The echo's mean is half of what it was shown, and a shift.
    expected = np.float32(0.5 * 0.5 * GLANCED) + np.float32([0.2, -0.4])
    np.testing.assert_allclose(episode.modes[0], np.tile(expected, (BATCH, 1)), rtol=1e-6)
    np.testing.assert_allclose(episode.values[0], 10 + 0.5 * GLANCED, rtol=1e-6)
    np.testing.assert_array_equal(episode.logits[..., :2], episode.locations)
    assert episode.samples.shape == (num_glimpses, BATCH, 2)
    if kind == "sampled":
        noise = (np.asarray(episode.samples - episode.modes) / np.asarray(SIGMA))[0]
        assert all(stats.kstest(noise[:, axis], "norm").pvalue > 1e-3 for axis in range(2))
        expected = stats.norm.logpdf(episode.samples, episode.modes, SIGMA).sum(-1)
        np.testing.assert_allclose(episode.log_probs, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(episode.entropies, stats.norm.entropy(0, SIGMA).sum(), rtol=1e-5)
        np.testing.assert_array_equal(episode.sigmas, np.broadcast_to(SIGMA, episode.sigmas.shape))
        np.testing.assert_array_equal(episode.locations, np.clip(episode.samples, -1, 1))
    else:
        for field in ("log_probs", "entropies", "sigmas"):
            np.testing.assert_array_equal(getattr(episode, field), 0)
        if kind == "greedy":
            np.testing.assert_array_equal(episode.samples, episode.modes)
        else:
            assert all(stats.kstest(episode.samples[0, :, a], "uniform", args=(-1, 2)).pvalue > 1e-3 for a in range(2))


def test_the_first_location_of_a_glance_is_learned_and_its_sample_detached():
    tables = _tables()

    def totals(params):
        episode = _glance(tables, KEY, params, num_glimpses=1)
        return episode.log_probs.sum(), episode.samples.sum(), episode.values.sum(), episode.logits.sum()

    of_log_probs, *others = jax.jit(jax.jacrev(totals))(PARAMS)
    episode = _glance(_tables(), KEY, PARAMS, num_glimpses=1)
    slope = (np.asarray(episode.samples - episode.modes)[0] / np.square(SIGMA)).sum(axis=0)
    np.testing.assert_allclose(of_log_probs["shift"], slope, rtol=1e-3)
    # The baseline knows of the glance by detached features, and the belief of its location as a number alone.
    for leaf in jax.tree.leaves(others):
        np.testing.assert_array_equal(leaf, 0)


def test_a_replayed_episode_replays_the_glanced_location_too():
    first = _glance(_tables(), KEY, PARAMS)
    again = _glance(_tables(), jax.random.key(1), PARAMS, kind="replayed", samples=first.samples)
    for field, value in first._asdict().items():
        np.testing.assert_allclose(getattr(again, field), value, rtol=1e-5, atol=1e-5, err_msg=field)


def test_replicates_of_a_glance_mirror_its_noise():
    sensor, choice = _sensor(_tables()), LocationChoice(FIRST_LOCATIONS["uniform"])
    play = functools.partial(unroll, GLANCING, PARAMS, sensor, batch_size=BATCH, num_glimpses=2, sigma=SIGMA)

    @jax.jit
    def replicates(key):
        return replicate(lambda k, m: play(k, choice=choice._replace(mirrored=m)), key, 4, antithetic=True)

    episode = replicates(KEY)
    noise = np.asarray(episode.samples - episode.modes)
    np.testing.assert_allclose(noise[:, :2], -noise[:, 2:], atol=1e-6)
    assert np.abs(noise[0, 0] - noise[0, 1]).min() > 0


@pytest.mark.parametrize("kind, given", [("replayed", False), ("greedy", True), ("sampled", True)])
def test_samples_belong_to_replayed_episodes(kind, given):
    samples = _episode().samples if given else None
    with pytest.raises(ValueError, match=f"kind '{kind}': 'replayed' needs samples, the others take none"):
        _episode(kind=kind, samples=samples)
