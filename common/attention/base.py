"""The vocabulary of hard attention: agent and choice of locations; `common.policy_gradient.episode` has the episode.

Glimpse ``t`` is taken at ``locations[t]``. The location of glimpse ``t + 1`` is drawn from the location policy after
glimpse ``t``. Without `Agent.glance`, the first location is the centre of the image or uniformly random; with it, the
policy draws the first location too. A glimpse is taken at every location that is drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Bool, Float, PyTree

from common.attention.location_policies import LocationPolicy


class Agent(NamedTuple):
    """A recurrent attention agent as pure functions of its parameters; ``B`` stands for any number of batch axes.

    Attributes:
      initial_state: ``(params, batch_size) -> state``.
      perceive: ``(params, state, glimpses [B, K, G, G, C], locations [B, 2]) -> (state, output)``, after a glimpse;
        the output is an array ``[B, D]`` or a tree of such.
      locate: ``(params, output, sigma [2]) -> location policy``, of the batch shape ``[B]``.
      classify: ``(params, output) -> logits [..., num_classes]``.
      value: ``(params, output) -> value [...]``, the expected return before the next location is drawn.
      glance: ``(params, state) -> output`` before the first glimpse; the policy then draws the first location too. None
        where a fixed rule chooses the first location.
    """

    initial_state: Callable[..., PyTree]
    perceive: Callable[..., tuple[PyTree, Array]]
    locate: Callable[..., LocationPolicy]
    classify: Callable[..., Array]
    value: Callable[..., Array]
    glance: Callable[..., PyTree] | None = None


CHOICE_KINDS = ("sampled", "greedy", "random", "centre", "replayed")


class LocationChoice(NamedTuple):
    """The rule by which the locations of an episode are chosen.

    Attributes:
      first_location: ``(key, batch_size) -> locations [B, 2]``; not used by an agent with a `glance`.
      kind: ``sampled`` from the location policy, ``greedy`` (its mode), ``random`` (uniform over the image), ``centre``
        (of the image), or ``replayed``: the samples of an earlier episode, to compute their log-probabilities under
        this agent.
      mirrored: samples are mirrored by the location policy, and random locations at the centre, which gives the
        antithetic episode of the same key.
      detached: samples have no gradient; otherwise they are reparameterised, for pathwise gradients.
      samples: the locations of the kind ``replayed``, not clipped to the image, ``[T, B, 2]``.
    """

    first_location: Callable[..., Array]
    kind: str = "sampled"
    mirrored: Bool[Array, ""] | bool = False
    detached: bool = True
    samples: Float[Array, "T B 2"] | None = None
