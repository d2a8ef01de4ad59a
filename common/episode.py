"""Episodes: a recurrent agent looks, moves its gaze, and looks again.

Glimpse ``t`` is taken at ``locations[t]``. The first location comes from a start policy; the location of glimpse
``t + 1`` is sampled from the location policy after glimpse ``t``. Nothing samples a location that no glimpse uses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from common import locations


class Agent(NamedTuple):
    """A recurrent attention agent as pure functions of its parameters; ``B`` may be any leading axes.

    Attributes:
      initial_state: ``(params, batch_size) -> state``.
      look: ``(params, state, glimpses [B, K, G, G, C], locations [B, 2]) -> (state, output)``; the output is an array
        ``[B, D]`` or a tree of such.
      locate: ``(params, output, sigma [2]) -> (mean [B, 2], sigma [..., 2])``, the location policy.
      classify: ``(params, output) -> logits [..., num_classes]``.
      baseline: ``(params, output) -> value [...]``, the expected return before the next location is drawn.
      glance: ``(params, state) -> output`` before the first glimpse, from which the policy then draws the first
        location too; None where the start policy chooses it.
    """

    initial_state: Callable[..., PyTree]
    look: Callable[..., tuple[PyTree, Array]]
    locate: Callable[..., tuple[Array, Array]]
    classify: Callable[..., Array]
    baseline: Callable[..., Array]
    glance: Callable[..., PyTree] | None = None


POLICY_KINDS = ("sampled", "greedy", "random", "given")


class Policy(NamedTuple):
    """How locations are chosen; the same agent can be unrolled under any of these.

    Attributes:
      start: ``(key, batch_size) -> locations [B, 2]``; not used by an agent with a `glance`.
      kind: ``sampled`` from the Gaussian policy, ``greedy`` (its mean), ``random`` (uniform over the image), or
        ``given``: those of another episode, whose log-probabilities under this agent are then told.
      mirrored: samples lie on the other side of their means, random ones of the centre: the antithetic episode of the
        same key.
      detached: samples have no gradient; else they are reparameterised, for pathwise gradients.
      samples: what ``given`` gives, before it is moved onto the image, ``[T, B, 2]``.
    """

    start: Callable[..., Array]
    kind: str = "sampled"
    mirrored: Bool[Array, ""] | bool = False
    detached: bool = True
    samples: Float[Array, "T B 2"] | None = None


class Episode(NamedTuple):
    """What happened in an episode. T glimpses, M replicates, B images; `unroll` alone has no axis M.

    Attributes:
      locations: where glimpses were taken, normalised, on the image, ``[T, M, B, 2]``.
      samples: the same before they were moved onto the image, ``[T, M, B, 2]``.
      means: mean of the policy that chose each location, ``[T, M, B, 2]``.
      sigmas: its standard deviation, normalised ``[T, M, B, 2]``; 0 where no policy was learned.
      log_probs: log-probability of ``samples`` ``[T, M, B]``; 0 where no policy was learned (the first location).
      entropies: entropy of that policy, nats ``[T, M, B]``; 0 likewise.
      baselines: predicted return, made before each location was drawn ``[T, M, B]``; 0 likewise.
      logits: belief over classes after each glimpse, ``[T, M, B, num_classes]``.
    """

    locations: Float[Array, "T M B 2"]
    samples: Float[Array, "T M B 2"]
    means: Float[Array, "T M B 2"]
    sigmas: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    entropies: Float[Array, "T M B"]
    baselines: Float[Array, "T M B"]
    logits: Float[Array, "T M B num_classes"]


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
      see: the batch of images as the sensor shows it (`common.glimpse.make_sensor`).
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
        start = policy.start(start_key, batch_size) if given_first is None else given_first
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
        begin = agent.baseline(params, jax.lax.stop_gradient(glanced))[None]
    baselines = jnp.concatenate([begin, agent.baseline(params, jax.lax.stop_gradient(before))])
    return Episode(**moves._asdict(), baselines=baselines, logits=agent.classify(params, outputs))


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
