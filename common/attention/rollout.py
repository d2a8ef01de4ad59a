"""Rollouts: play episodes of an agent under a policy, once or as Monte Carlo replicates."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from common.attention.base import POLICY_KINDS, Agent, Episode, Policy
from common.attention.location_policies import AntitheticPolicy, LocationPolicy
from common.attention.locations import clip_location, uniform_location
from common.names import check_name


class _Move(NamedTuple):
    """One choice of location; the fields of `Episode` that belong to it."""

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
    """Unroll one episode for each image of a batch.

    Args:
      agent: the agent's functions.
      params: its parameters.
      see: the glimpse sensor of the batch (`common.attention.glimpse.make_sensor`).
      key: random key.
      batch_size: B.
      num_glimpses: T.
      policy: how locations are chosen.
      sigma: normalised standard deviation of the location policy in x and y.

    Returns:
      An `Episode` without the axis M.

    Raises:
      ValueError: an unknown kind of policy.
    """
    check_name("policy kind", policy.kind, POLICY_KINDS)
    start_key, *keys = jax.random.split(key, num_glimpses)

    def look(state: PyTree, move: _Move) -> tuple[PyTree, PyTree]:
        return agent.look(params, state, see(move.locations), move.locations)

    def choose(output: PyTree, key: Any, given: Any) -> _Move:
        location_policy = agent.locate(params, output, sigma)
        if policy.kind == "given":
            return _drawn(location_policy, given)
        if policy.kind == "sampled":
            sample = location_policy.sample(key)
            if policy.mirrored is not False:
                sample = jnp.where(policy.mirrored, cast(AntitheticPolicy, location_policy).mirror(sample), sample)
            # Rule: the sample is detached, the parameters of the policy that drew it are not.
            return _drawn(location_policy, jax.lax.stop_gradient(sample) if policy.detached else sample)
        # Nothing is learned from the other kinds: no log-probability, no gradient.
        mode = location_policy.mode()
        sample = jax.lax.stop_gradient(mode)
        if policy.kind == "random":
            sample = uniform_location(key, batch_size)
            sample = jnp.where(policy.mirrored, -sample, sample)
        return _undrawn(clip_location(sample), sample, mode)

    state = agent.initial_state(params, batch_size)
    given_first = None if policy.samples is None else policy.samples[0]
    glanced = None if agent.glance is None else agent.glance(params, state)
    if glanced is None:
        start = policy.first_location(start_key, batch_size) if given_first is None else given_first
        first = _undrawn(start, start, start)
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
    # Rule: the value network learns from detached features, those that each location was chosen from.
    before, begin = jax.tree.map(lambda leaf: leaf[:-1], outputs), jnp.zeros((1, batch_size))
    if glanced is not None:
        begin = agent.value(params, jax.lax.stop_gradient(glanced))[None]
    values = jnp.concatenate([begin, agent.value(params, jax.lax.stop_gradient(before))])
    return Episode(**moves._asdict(), values=values, logits=agent.classify(params, outputs))


def _drawn(policy: LocationPolicy, sample: Array) -> _Move:
    """Return the move of a sample that a policy drew.

    Its log-probability is that of the value, before it is moved onto the image, with a gradient to the policy's
    parameters alone (Mnih et al. 2014, equation 2).
    """
    log_prob, mode = policy.log_prob(jax.lax.stop_gradient(sample)), policy.mode()
    spread = jnp.broadcast_to(getattr(policy, "sigma", 0.0), mode.shape)
    return _Move(clip_location(sample), sample, mode, spread, log_prob, policy.entropy())


def _undrawn(location: Array, sample: Array, mode: Array) -> _Move:
    """Return the move of a location that no policy drew."""
    zeros = jnp.zeros(location.shape[:-1])
    return _Move(location, sample, mode, jnp.zeros(location.shape), zeros, zeros)


def replicate(
    unroll_one: Callable[..., Episode], key: Key[Array, ""], num_replicates: int, *, antithetic: bool = False
) -> Episode:
    """Play M independent episodes of the same images, the Monte Carlo replicates.

    Args:
      unroll_one: ``key -> Episode`` without the axis M, or ``(key, mirrored) -> Episode`` for antithetic replicates;
        whatever it closes over is not repeated.
      key: random key, split among the replicates.
      num_replicates: M.
      antithetic: replicates come in pairs with one key; the second of a pair, M / 2 places on, is mirrored.

    Returns:
      An `Episode` with the axis M second, ``[T, M, B]``.
    """
    if not antithetic:
        return jax.vmap(unroll_one, out_axes=1)(jax.random.split(key, num_replicates))
    keys = jnp.tile(jax.random.split(key, num_replicates // 2), 2)
    return jax.vmap(unroll_one, out_axes=1)(keys, jnp.arange(num_replicates) >= num_replicates // 2)
