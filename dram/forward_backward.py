"""Combine two models that read in opposite directions (Ba et al. 2014, section 4.3).

A model alone tends to read too many symbols. So ``k``, the length of the shorter prediction, is taken as the length on
which both agree: the first ``k`` symbols of the backward model are flipped into the order of the forward one, and at
each position the log-probabilities of both are added. From position ``k`` on, where one model ends and the other may go
on, nothing is flipped, and the more confident one decides.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from common.data.recipes.reversal import flip_first
from common.training.evaluation import predicted


def lengths(log_probs: Float[Array, "B S C"]) -> Int[Array, " B"]:
    """Count the symbols that a model predicts before its first end symbol, the last class."""
    return (predicted(log_probs) != log_probs.shape[-1] - 1).sum(axis=-1)


def combine(forward: Float[Array, "B S C"], backward: Float[Array, "B S C"]) -> Int[Array, "B S"]:
    """Predict the symbols, from left to right, from both models together.

    Args:
      forward: log-probabilities of each symbol by the model that reads from left to right; the last class ends a
        sequence. They may be means over sampled episodes. After the end that an episode predicts they should be uniform
        (`common.training.evaluation.make_scorer`), since the model has learned nothing about what follows.
      backward: those of the model that reads from right to left, in the order in which it reads.

    Returns:
      Symbols, all end symbols from the first on.
    """
    shorter = jnp.minimum(lengths(forward), lengths(backward))
    flipped = jax.vmap(flip_first, in_axes=(-1, None), out_axes=-1)(backward, shorter)
    return predicted(forward + flipped)
