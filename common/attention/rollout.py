"""Rollouts: play episodes of an agent, once or as Monte Carlo replicates."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from common.attention.base import CHOICE_KINDS, Agent, LocationChoice
from common.attention.location_policies import AntitheticPolicy, LocationPolicy
from common.attention.locations import clip_location, uniform_location
from common.names import check_name
from common.policy_gradient.episode import Episode


class _Chosen(NamedTuple):
    """One chosen location: the fields of `Episode` that belong to it."""

    locations: Array
    samples: Array
    modes: Array
    sigmas: Array
    log_probs: Array
    entropies: Array


def unroll(
    agent: Agent,
    params: PyTree,
    sensor: Callable[[Float[Array, "B 2"]], Float[Array, "B K G G C"]],
    key: Key[Array, ""],
    *,
    batch_size: int,
    num_glimpses: int,
    choice: LocationChoice,
    sigma: Float[Array, "2"],
) -> Episode:
    """Unroll one episode for each image of a batch.

    Args:
      agent: the agent's functions.
      params: its parameters.
      sensor: the glimpse sensor of the batch (`common.attention.glimpse.make_sensor`).
      key: random key.
      batch_size: B.
      num_glimpses: T.
      choice: how locations are chosen.
      sigma: normalised standard deviation of the location policy in x and y.

    Returns:
      An `Episode` without the axis M.

    Raises:
      ValueError: an unknown kind of choice, or samples without the kind ``replayed`` or the reverse.
    """
    check_name("kind", choice.kind, CHOICE_KINDS)
    if (choice.kind == "replayed") != (choice.samples is not None):
        raise ValueError(f"kind {choice.kind!r}: 'replayed' needs samples, the others take none")
    first_key, *keys = jax.random.split(key, num_glimpses)
    samples = choice.samples

    def perceive(state: PyTree, chosen: _Chosen) -> tuple[PyTree, PyTree]:
        return agent.perceive(params, state, sensor(chosen.locations), chosen.locations)

    def choose(output: PyTree, key: Any, replayed: Any) -> _Chosen:
        return _choose(choice, agent.locate(params, output, sigma), key, replayed, batch_size)

    state = agent.initial_state(params, batch_size)
    glanced = None if agent.glance is None else agent.glance(params, state)
    first_sample = None if samples is None else samples[0]
    if glanced is None:
        location = choice.first_location(first_key, batch_size) if first_sample is None else first_sample
        first = _not_sampled(location, location, location)
    else:
        first = choose(glanced, first_key, first_sample)
    state, output = perceive(state, first)

    def step(carry: tuple[PyTree, PyTree], inputs: Any) -> tuple[tuple[PyTree, PyTree], tuple[_Chosen, PyTree]]:
        state, output = carry
        chosen = choose(output, *inputs)
        state, output = perceive(state, chosen)
        return (state, output), (chosen, output)

    if num_glimpses > 1:
        # Unrolled: episodes are short, and a rolled loop copies residuals and weight gradients at every glimpse, which
        # made a training step 1.6 times slower on a CPU.
        inputs = jnp.stack(keys), None if samples is None else samples[1:]
        _, rest = jax.lax.scan(step, (state, output), inputs, unroll=True)
        chosen, outputs = jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), (first, output), rest)
    else:
        chosen, outputs = jax.tree.map(lambda leaf: leaf[None], (first, output))
    # Rule: the value network learns from detached features, those that each location was chosen from.
    before, first_value = jax.tree.map(lambda leaf: leaf[:-1], outputs), jnp.zeros((1, batch_size))
    if glanced is not None:
        first_value = agent.value(params, jax.lax.stop_gradient(glanced))[None]
    values = jnp.concatenate([first_value, agent.value(params, jax.lax.stop_gradient(before))])
    return Episode(**chosen._asdict(), values=values, logits=agent.classify(params, outputs))


def _choose(choice: LocationChoice, policy: LocationPolicy, key: Any, replayed: Any, batch_size: int) -> _Chosen:
    """Choose the next location; ``replayed`` is the sample of the earlier episode, or None."""
    if choice.kind == "replayed":
        return _sampled(policy, replayed)
    if choice.kind == "sampled":
        sample = policy.sample(key)
        if choice.mirrored is not False:
            sample = jnp.where(choice.mirrored, cast(AntitheticPolicy, policy).mirror(sample), sample)
        # Rule: the sample is detached, the parameters of the policy that drew it are not.
        return _sampled(policy, jax.lax.stop_gradient(sample) if choice.detached else sample)
    # Nothing is learned from the other kinds: no log-probability, no gradient.
    mode = policy.mode()
    sample = jax.lax.stop_gradient(mode)
    if choice.kind == "random":
        sample = uniform_location(key, batch_size)
        sample = jnp.where(choice.mirrored, -sample, sample)
    elif choice.kind == "centre":
        sample = jnp.zeros_like(mode)
    return _not_sampled(clip_location(sample), sample, mode)


def _sampled(policy: LocationPolicy, sample: Array) -> _Chosen:
    """Return the fields of a location that was sampled from a policy.

    The log-probability is that of the sample before it is clipped to the image. Its gradient goes to the policy's
    parameters alone (Mnih et al. 2014, equation 2).
    """
    log_prob, mode = policy.log_prob(jax.lax.stop_gradient(sample)), policy.mode()
    sigma = jnp.broadcast_to(getattr(policy, "sigma", 0.0), mode.shape)
    return _Chosen(clip_location(sample), sample, mode, sigma, log_prob, policy.entropy())


def _not_sampled(location: Array, sample: Array, mode: Array) -> _Chosen:
    """Return the fields of a location that was not sampled from a policy."""
    zeros = jnp.zeros(location.shape[:-1])
    return _Chosen(location, sample, mode, jnp.zeros(location.shape), zeros, zeros)


def replicate(
    unroll_one: Callable[..., Episode], key: Key[Array, ""], num_replicates: int, *, antithetic: bool = False
) -> Episode:
    """Play M independent episodes of the same images, the Monte Carlo replicates.

    Args:
      unroll_one: ``key -> Episode`` without the axis M, or ``(key, mirrored) -> Episode`` for antithetic replicates.
        What does not depend on its arguments, such as summed-area tables, is computed once for all replicates.
      key: random key, split among the replicates.
      num_replicates: M.
      antithetic: replicates ``m`` and ``m + M / 2`` have the same key, and the second of them is mirrored.

    Returns:
      An `Episode` with the axis M second, ``[T, M, B]``.
    """
    if not antithetic:
        return jax.vmap(unroll_one, out_axes=1)(jax.random.split(key, num_replicates))
    keys = jnp.tile(jax.random.split(key, num_replicates // 2), 2)
    return jax.vmap(unroll_one, out_axes=1)(keys, jnp.arange(num_replicates) >= num_replicates // 2)
