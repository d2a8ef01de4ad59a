"""Labels of one class or of a sequence of symbols: the last layer, the loss and the accuracy.

A sequence has S symbols in ``0..num_classes - 1``; the last class is the end symbol, and labels are padded with it.
Predictions after the first end symbol of the label do not count.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from common.symbols import within


class Head(nn.Module):
    """A linear layer for each symbol of the label.

    Attributes:
      num_classes: classes, or symbols with the end symbol.
      num_targets: symbols S of a label, or None where a label is one class.
    """

    num_classes: int
    num_targets: int | None = None

    @nn.compact
    def __call__(self, features: Float[Array, "B D"]) -> Float[Array, "B *S num_classes"]:
        """Compute logits ``[B, num_classes]``, or ``[B, S, num_classes]``."""
        logits = nn.Dense(self.num_classes * (self.num_targets or 1), name="logits")(features)
        return logits if self.num_targets is None else logits.reshape(-1, self.num_targets, self.num_classes)


def counted_symbols(labels: Int[Array, " B *S"], num_classes: int) -> Bool[Array, " B *S"]:
    """Return which symbols of each label count: those up to and including its first end symbol; a class always."""
    return jnp.ones_like(labels, bool) if labels.ndim == 1 else within(labels, num_classes)


def cross_entropy(
    logits: Float[Array, "B *S num_classes"], labels: Int[Array, " B *S"], smoothing: float = 0.0
) -> Float[Array, " B"]:
    """Compute the cross-entropy of each image in nats, summed over the symbols that count.

    Args:
      logits: logits of each class or symbol.
      labels: true classes or symbols.
      smoothing: fraction of the label that is spread evenly over all classes (Szegedy et al. 2016, section 7).
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    each = optax.softmax_cross_entropy(logits, targets)
    return (each * counted_symbols(labels, logits.shape[-1])).reshape(len(labels), -1).sum(axis=1)


def accuracy(logits: Float[Array, "B *S num_classes"], labels: Int[Array, " B *S"]) -> Float[Array, ""]:
    """Return the fraction of the images for which every symbol that counts is right."""
    right = (logits.argmax(-1) == labels) | ~counted_symbols(labels, logits.shape[-1])
    return right.reshape(labels.shape[0], -1).all(axis=1).mean()
