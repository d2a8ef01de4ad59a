"""Two models that read in opposite directions, combined (Ba et al. 2014, section 4.3).

A model alone tends to read too many symbols. Both are therefore taken to agree on ``k`` of them, as many as the shorter
of their predictions has: the first ``k`` symbols of the backward model are flipped, so that they stand in the order of
the forward one, and at each position the log-probabilities of both are added. From position ``k`` on, where one of them
reads on and the other ends, nothing is flipped, and the surer one decides.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from common.data.recipes.reversal import flip_first
from common.training.evaluation import predicted


def lengths(log_probs: Float[Array, "B S C"]) -> Int[Array, " B"]:
    """How many symbols a model predicts before its first end symbol, the last class."""
    return (predicted(log_probs) != log_probs.shape[-1] - 1).sum(axis=-1)


def combine(forward: Float[Array, "B S C"], backward: Float[Array, "B S C"]) -> Int[Array, "B S"]:
    """The symbols, from left to right, that both models together predict.

    Args:
      forward: log-probabilities of each symbol by the model that reads from left to right; the last class ends a
        sequence. Monte Carlo averages are means over episodes of these. Past the end that a reader itself predicts they
        should be uniform (`common.training.evaluation.make_scorer`), since it has learned nothing about what is there.
      backward: those of the model that reads from right to left, in the order in which it reads.

    Returns:
      Symbols, all end symbols from the first on.

    Raises:
      ValueError: the two have different shapes.
    """
    if forward.shape != backward.shape:
        raise ValueError(f"forward {list(forward.shape)} and backward {list(backward.shape)}: must have the same shape")
    shorter = jnp.minimum(lengths(forward), lengths(backward))
    flipped = jax.vmap(flip_first, in_axes=(-1, None), out_axes=-1)(backward, shorter)
    return predicted(forward + flipped)
