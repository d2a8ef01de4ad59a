"""Rollouts: play episodes of an agent under a policy, once or as Monte Carlo replicates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from common.attention import locations
from common.attention.base import POLICY_KINDS, Agent, Episode, Policy


class _Move(NamedTuple):
    """One choice of location; the per-glimpse fields of `Episode`."""

    locations: Array
    samples: Array
    means: Array
    sigmas: Array
    log_probs: Array
    entropies: Array


def unroll(
    agent: Agent,
    params: PyTree,
    see: Callable[[Float[Array, "B 2"]], Float[Array, "B K G G C"]],
    key: Key[Array, ""],
    *,
    batch_size: int,
    num_glimpses: int,
    policy: Policy,
    sigma: Float[Array, "2"],
) -> Episode:
    """Unrolls one episode for each image of a batch.

    Args:
      agent: the agent's functions.
      params: its parameters.
      see: the batch of images as the sensor shows it (`common.attention.glimpse.make_sensor`).
      key: random key.
      batch_size: B.
      num_glimpses: T.
      policy: how locations are chosen.
      sigma: normalised standard deviation of the location noise in x and y.

    Returns:
      An `Episode` without the axis M.

    Raises:
      ValueError: an unknown kind of policy, or samples without the kind ``given`` or the reverse.
    """
    if policy.kind not in POLICY_KINDS:
        raise ValueError(f"policy kind {policy.kind!r}: must be one of {', '.join(POLICY_KINDS)}")
    if (policy.kind == "given") != (policy.samples is not None):
        raise ValueError(f"policy kind {policy.kind!r}: samples belong to 'given', and it needs them")
    start_key, *keys = jax.random.split(key, num_glimpses)

    def look(state: PyTree, move: _Move) -> tuple[PyTree, PyTree]:
        return agent.look(params, state, see(move.locations), move.locations)

    def choose(output: PyTree, key: Any, given: Any) -> _Move:
        mean, spread = agent.locate(params, output, sigma)
        spread = jnp.broadcast_to(spread, mean.shape)
        if policy.kind == "given":
            log_prob, entropy = locations.log_prob_and_entropy(given, mean, spread)
            return _Move(locations.clip_location(given), given, mean, spread, log_prob, entropy)
        if policy.kind == "sampled":
            sample, log_prob, entropy = locations.sample_location(
                key, mean, spread, mirrored=policy.mirrored, detached=policy.detached
            )
            return _Move(locations.clip_location(sample), sample, mean, spread, log_prob, entropy)
        # Neither of the others is learned from: no log-probability, no gradient.
        sample = jax.lax.stop_gradient(mean)
        if policy.kind == "random":
            sample = locations.uniform_location(key, batch_size)
            sample = jnp.where(policy.mirrored, -sample, sample)
        return _unlearned(locations.clip_location(sample), sample, mean)

    state = agent.initial_state(params, batch_size)
    given_first = None if policy.samples is None else policy.samples[0]
    glanced = None if agent.glance is None else agent.glance(params, state)
    if glanced is None:
        start = policy.first_location(start_key, batch_size) if given_first is None else given_first
        first = _unlearned(start, start, start)
    else:
        first = choose(glanced, start_key, given_first)
    state, output = look(state, first)

    def step(carry: tuple[PyTree, PyTree], drawn: Any) -> tuple[tuple[PyTree, PyTree], tuple[_Move, PyTree]]:
        state, output = carry
        move = choose(output, *drawn)
        state, output = look(state, move)
        return (state, output), (move, output)

    if num_glimpses > 1:
        # Unrolled: episodes are short, and a rolled loop copies residuals and weight gradients at every glimpse, which
        # made a training step 1.6 times slower on a CPU.
        given = None if policy.samples is None else policy.samples[1:]
        _, (moves, outputs) = jax.lax.scan(step, (state, output), (jnp.stack(keys), given), unroll=True)
        moves = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, moves)
        outputs = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), output, outputs)
    else:
        moves, outputs = jax.tree.map(lambda x: x[None], (first, output))
    # Rule: the baseline learns from detached features, those that each location was chosen by.
    before, begin = jax.tree.map(lambda leaf: leaf[:-1], outputs), jnp.zeros((1, batch_size))
    if glanced is not None:
        begin = agent.value(params, jax.lax.stop_gradient(glanced))[None]
    values = jnp.concatenate([begin, agent.value(params, jax.lax.stop_gradient(before))])
    return Episode(**moves._asdict(), values=values, logits=agent.classify(params, outputs))


def _unlearned(location: Array, sample: Array, mean: Array) -> _Move:
    """A location that no learned policy drew."""
    nothing = jnp.zeros(location.shape[:-1])
    return _Move(location, sample, mean, jnp.zeros(location.shape), nothing, nothing)


def replicate(
    unroll_one: Callable[..., Episode], key: Key[Array, ""], num_replicates: int, *, antithetic: bool = False
) -> Episode:
    """Monte Carlo replication: M independent episodes of the same images.

    Args:
      unroll_one: ``key -> Episode`` without the axis M, or ``(key, mirrored) -> Episode`` for antithetic replicates;
        whatever it closes over is not repeated.
      key: random key, split among the replicates.
      num_replicates: M.
      antithetic: replicates come in pairs of one key, of which the second, M / 2 places on, is mirrored.

    Returns:
      An `Episode` with the axis M second, ``[T, M, B]``.

    Raises:
      ValueError: an odd number of antithetic replicates.
    """
    if not antithetic:
        return jax.vmap(unroll_one, out_axes=1)(jax.random.split(key, num_replicates))
    if num_replicates % 2:
        raise ValueError(f"replicates {num_replicates}: antithetic ones come in pairs")
    keys = jnp.tile(jax.random.split(key, num_replicates // 2), 2)
    return jax.vmap(unroll_one, out_axes=1)(keys, jnp.arange(num_replicates) >= num_replicates // 2)
