"""The vocabulary of hard attention: an agent, the policy that moves its gaze, and the episode that they make.

Glimpse ``t`` is taken at ``locations[t]``. The first location comes from a start policy; the location of glimpse
``t + 1`` is sampled from the location policy after glimpse ``t``. Nothing samples a location that no glimpse uses.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Bool, Float, PyTree


class Agent(NamedTuple):
    """A recurrent attention agent as pure functions of its parameters; ``B`` may be any leading axes.

    Attributes:
      initial_state: ``(params, batch_size) -> state``.
      look: ``(params, state, glimpses [B, K, G, G, C], locations [B, 2]) -> (state, output)``; the output is an array
        ``[B, D]`` or a tree of such.
      locate: ``(params, output, sigma [2]) -> (mean [B, 2], sigma [..., 2])``, the location policy.
      classify: ``(params, output) -> logits [..., num_classes]``.
      value: ``(params, output) -> value [...]``, the expected return before the next location is drawn.
      glance: ``(params, state) -> output`` before the first glimpse, from which the policy then draws the first
        location too; None where the start policy chooses it.
    """

    initial_state: Callable[..., PyTree]
    look: Callable[..., tuple[PyTree, Array]]
    locate: Callable[..., tuple[Array, Array]]
    classify: Callable[..., Array]
    value: Callable[..., Array]
    glance: Callable[..., PyTree] | None = None


POLICY_KINDS = ("sampled", "greedy", "random", "given")


class Policy(NamedTuple):
    """How locations are chosen; the same agent can be unrolled under any of these.

    Attributes:
      first_location: ``(key, batch_size) -> locations [B, 2]``; not used by an agent with a `glance`.
      kind: ``sampled`` from the Gaussian policy, ``greedy`` (its mean), ``random`` (uniform over the image), or
        ``given``: those of another episode, whose log-probabilities under this agent are then told.
      mirrored: samples lie on the other side of their means, random ones of the centre: the antithetic episode of the
        same key.
      detached: samples have no gradient; else they are reparameterised, for pathwise gradients.
      samples: what ``given`` gives, before it is moved onto the image, ``[T, B, 2]``.
    """

    first_location: Callable[..., Array]
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
      values: predicted return, made before each location was drawn ``[T, M, B]``; 0 likewise.
      logits: belief over classes after each glimpse, ``[T, M, B, num_classes]``.
    """

    locations: Float[Array, "T M B 2"]
    samples: Float[Array, "T M B 2"]
    means: Float[Array, "T M B 2"]
    sigmas: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    entropies: Float[Array, "T M B"]
    values: Float[Array, "T M B"]
    logits: Float[Array, "T M B num_classes"]
