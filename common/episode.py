"""Episodes: a recurrent agent looks, moves its gaze, and looks again.

Glimpse ``t`` is taken at ``locations[t]``. The first location comes from a start policy; the location of glimpse
``t + 1`` is sampled from the location policy after glimpse ``t``. Nothing samples a location that no glimpse uses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, PyTree

from common import locations
from common.glimpse import Retina, glimpse


class Agent(NamedTuple):
    """A recurrent attention agent as pure functions of its parameters; ``B`` may be any leading axes.

    Attributes:
      initial_state: ``(params, batch_size) -> state``.
      look: ``(params, state, glimpses [B, K, G, G, C], locations [B, 2]) -> (state, output [B, D])``.
      locate: ``(params, output [B, D], sigma [2]) -> (mean [B, 2], sigma [..., 2])``, the location policy.
      classify: ``(params, output [..., D]) -> logits [..., num_classes]``.
      baseline: ``(params, output [..., D]) -> value [...]``, the expected return before the next location is drawn.
    """

    initial_state: Callable[..., PyTree]
    look: Callable[..., tuple[PyTree, Array]]
    locate: Callable[..., tuple[Array, Array]]
    classify: Callable[..., Array]
    baseline: Callable[..., Array]


POLICY_KINDS = ("sampled", "greedy", "random")


class Policy(NamedTuple):
    """How locations are chosen; the same agent can be unrolled under any of these.

    Attributes:
      start: ``(key, batch_size) -> locations [B, 2]``.
      kind: ``sampled`` from the Gaussian policy, ``greedy`` (its mean), or ``random`` (uniform over the image).
    """

    start: Callable[..., Array]
    kind: str = "sampled"


class Episode(NamedTuple):
    """What happened in an episode. T glimpses, M replicates, B images; `unroll` alone has no axis M.

    Attributes:
      locations: where glimpses were taken, normalised, on the image, ``[T, M, B, 2]``.
      samples: the same before they were moved onto the image, ``[T, M, B, 2]``.
      means: mean of the policy that chose each location, ``[T, M, B, 2]``.
      log_probs: log-probability of ``samples`` ``[T, M, B]``; 0 where no policy was learned (the first location).
      entropies: entropy of that policy, nats ``[T, M, B]``; 0 likewise.
      baselines: predicted return, made before each location was drawn ``[T, M, B]``; 0 likewise.
      logits: belief over classes after each glimpse, ``[T, M, B, num_classes]``.
    """

    locations: Float[Array, "T M B 2"]
    samples: Float[Array, "T M B 2"]
    means: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    entropies: Float[Array, "T M B"]
    baselines: Float[Array, "T M B"]
    logits: Float[Array, "T M B num_classes"]


class _Move(NamedTuple):
    """One choice of location; the per-glimpse fields of `Episode`."""

    locations: Array
    samples: Array
    means: Array
    log_probs: Array
    entropies: Array


def unroll(
    agent: Agent,
    params: PyTree,
    tables: Int32[Array, "B rows columns C"],
    key: Key[Array, ""],
    *,
    retina: Retina,
    num_glimpses: int,
    policy: Policy,
    sigma: Float[Array, "2"],
) -> Episode:
    """Unrolls one episode for each image of a batch.

    Args:
      agent: the agent's functions.
      params: its parameters.
      tables: summed-area tables of the images (`common.glimpse.summed_area_table`).
      key: random key.
      retina: geometry of the retina.
      num_glimpses: T.
      policy: how locations are chosen.
      sigma: normalised standard deviation of the location noise in x and y.

    Returns:
      An `Episode` without the axis M.

    Raises:
      ValueError: an unknown kind of policy.
    """
    if policy.kind not in POLICY_KINDS:
        raise ValueError(f"policy kind {policy.kind!r}: must be one of {', '.join(POLICY_KINDS)}")
    batch_size = tables.shape[0]
    start_key, *keys = jax.random.split(key, num_glimpses)
    see = jax.vmap(glimpse, in_axes=(0, 0, None))

    def look(state: PyTree, move: _Move) -> tuple[PyTree, Array]:
        return agent.look(params, state, see(tables, move.locations, retina), move.locations)

    def choose(output: Array, key: Any) -> _Move:
        mean, spread = agent.locate(params, output, sigma)
        if policy.kind == "sampled":
            sample, log_prob, entropy = locations.sample_location(key, mean, spread)
            return _Move(locations.clip_location(sample), sample, mean, log_prob, entropy)
        # Neither of the others is learned from: no log-probability, no gradient.
        sample = jax.lax.stop_gradient(mean)
        if policy.kind == "random":
            sample = locations.uniform_location(key, batch_size)
        return _given(locations.clip_location(sample), sample, mean)

    start = policy.start(start_key, batch_size)
    first = _given(start, start, start)
    state, output = look(agent.initial_state(params, batch_size), first)

    def step(carry: tuple[PyTree, Array], key: Any) -> tuple[tuple[PyTree, Array], tuple[_Move, Array]]:
        state, output = carry
        move = choose(output, key)
        state, output = look(state, move)
        return (state, output), (move, output)

    if num_glimpses > 1:
        # Unrolled: episodes are short, and a rolled loop copies residuals and weight gradients at every glimpse, which
        # made a training step 1.6 times slower on a CPU.
        _, (moves, outputs) = jax.lax.scan(step, (state, output), jnp.stack(keys), unroll=True)
        moves = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, moves)
        outputs = jnp.concatenate([output[None], outputs])
    else:
        moves, outputs = jax.tree.map(lambda x: x[None], (first, output))
    # Rule: the baseline learns from detached features.
    baselines = agent.baseline(params, jax.lax.stop_gradient(outputs[:-1]))
    baselines = jnp.concatenate([jnp.zeros((1, batch_size)), baselines])
    return Episode(**moves._asdict(), baselines=baselines, logits=agent.classify(params, outputs))


def _given(location: Array, sample: Array, mean: Array) -> _Move:
    """A location that no learned policy drew."""
    nothing = jnp.zeros(location.shape[:-1])
    return _Move(location, sample, mean, nothing, nothing)


def replicate(unroll_one: Callable[[Key[Array, ""]], Episode], key: Key[Array, ""], num_replicates: int) -> Episode:
    """Monte Carlo replication: M independent episodes of the same images.

    Args:
      unroll_one: ``key -> Episode`` without the axis M; whatever it closes over is not repeated.
      key: random key, split among the replicates.
      num_replicates: M.

    Returns:
      An `Episode` with the axis M second, ``[T, M, B]``.
    """
    return jax.vmap(unroll_one, out_axes=1)(jax.random.split(key, num_replicates))
