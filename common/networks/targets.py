"""Labels of one class or of a sequence of symbols: the last layer, the loss, and what counts as right.

A sequence has S places; its symbols are ``0..num_classes - 1``, of which the last is the end symbol. A label is filled
up with end symbols. What a network says after the first end symbol of the label counts for nothing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from common.attention.sequences import within


class Head(nn.Module):
    """A linear layer for each place of the label.

    Attributes:
      num_classes: classes, or symbols with the end symbol.
      num_targets: S, or None where a label is one class.
    """

    num_classes: int
    num_targets: int | None = None

    @nn.compact
    def __call__(self, features: Float[Array, "B D"]) -> Float[Array, "B *S num_classes"]:
        """Features to logits ``[B, num_classes]``, or ``[B, S, num_classes]``."""
        logits = nn.Dense(self.num_classes * (self.num_targets or 1), name="logits")(features)
        return logits if self.num_targets is None else logits.reshape(-1, self.num_targets, self.num_classes)


def counted(labels: Int[Array, " B *S"], num_classes: int) -> Bool[Array, " B *S"]:
    """The places of each label that count: up to its first end symbol and including it; of one class, that."""
    return jnp.ones_like(labels, bool) if labels.ndim == 1 else within(labels, num_classes)


def cross_entropy(
    logits: Float[Array, "B *S num_classes"], labels: Int[Array, " B *S"], smoothing: float = 0.0
) -> Float[Array, " B"]:
    """Of each image the cross-entropy, in nats, summed over the places that count.

    Args:
      logits: of each class or symbol.
      labels: which one it is.
      smoothing: part of the label that is spread over all classes alike (Szegedy et al. 2016, section 7).
    """
    wanted = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    each = optax.softmax_cross_entropy(logits, wanted)
    return (each * counted(labels, logits.shape[-1])).reshape(len(labels), -1).sum(axis=1)


def accuracy(logits: Float[Array, "B *S num_classes"], labels: Int[Array, " B *S"]) -> Float[Array, ""]:
    """Part of the images of which every place that counts is right."""
    right = (logits.argmax(-1) == labels) | ~counted(labels, logits.shape[-1])
    return right.reshape(labels.shape[0], -1).all(axis=1).mean()
