"""Sequences of targets: the target of each glimpse, and which glimpses count (Ba et al. 2014, section 3).

A sequence is labelled with S symbols ``[B, S]``, of which the last class is the end symbol; after its end it is padded
with end symbols. Each target has the same number of glimpses, after the last of which it is predicted.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from common.symbols import all_before, within


class Sequence(NamedTuple):
    """The reading of a sequence, with an equal number of glimpses for each target.

    Attributes:
      glimpses: N, the glimpses of each target; an episode has ``T = S * N``.
      stop_at_wrong: learn nothing from the targets after the first that is predicted wrong.
    """

    glimpses: int
    stop_at_wrong: bool = True

    def targets(self, labels: Int[Array, "B S"]) -> Int[Array, "T B"]:
        """Return the target of each glimpse."""
        return jnp.repeat(labels.T, self.glimpses, axis=0)

    def by_target(self, values: Float[Array, " T *rest"]) -> Float[Array, "S N *rest"]:
        """Group values of glimpses by target."""
        return values.reshape(-1, self.glimpses, *values.shape[1:])

    def final_beliefs(self, logits: Float[Array, "T *batch C"]) -> Float[Array, "S *batch C"]:
        """Return the logits of each target after its last glimpse."""
        return self.by_target(logits)[:, -1]

    def counted(self, logits: Float[Array, "T M B C"], labels: Int[Array, "B S"]) -> Float[Array, "T M B"]:
        """Return 1 for the glimpses that count, else 0.

        The glimpses of a target count if it comes no later than the first end symbol and, with ``stop_at_wrong``, if
        all earlier targets were predicted right.
        """
        counts = jnp.broadcast_to(within(labels, logits.shape[-1]).T[:, None], (labels.shape[1], *logits.shape[1:3]))
        if self.stop_at_wrong:
            right = self.final_beliefs(logits).argmax(-1) == labels.T[:, None]
            counts = counts & all_before(right)
        return jnp.repeat(counts, self.glimpses, axis=0).astype(jnp.float32)

    def reward(self, reward: Callable[..., Array]) -> Callable[..., Array]:
        """Return the reward of sequences, made from a reward of one class.

        It applies ``reward`` to the glimpses of each target, and is 0 for glimpses that do not count. So the return of
        a glimpse is the sum of the rewards of its target and of all later ones.
        """

        def of_sequence(logits: Float[Array, "T M B C"], labels: Int[Array, "B S"]) -> Float[Array, "T M B"]:
            parts = self.by_target(logits)
            each = [reward(part, labels[:, index]) for index, part in enumerate(parts)]
            return jnp.concatenate(each) * self.counted(logits, labels)

        return of_sequence
