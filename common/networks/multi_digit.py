"""Classifiers that read a whole number at once (Goodfellow et al. 2014), and their output layers.

The label of a sequence is S symbols ``[B, S]``. The last class is the end symbol, and labels are padded with it. All
symbols are predicted from one vector of features; no layer is designed for one digit.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from common.networks.convolutions import Conv, max_pool
from common.networks.targets import cross_entropy

# The standard deviation of pixels is about a quarter; the initialisation of the layers expects about 1.
INPUT_SCALE = 4.0


class Layout(NamedTuple):
    """The layers of a network at width 1.

    Attributes:
      filters: filters of each convolution.
      kernel: side of each kernel in pixels; zero padding keeps the size of the maps.
      strides: stride of the 2x2 max-pooling after each convolution; 0 for no pooling.
      dense: units of each dense layer.
      centred: whether the mean of each image is subtracted (Goodfellow et al. 2014, section 5.1).
    """

    filters: tuple[int, ...]
    kernel: int
    strides: tuple[int, ...]
    dense: tuple[int, ...]
    centred: bool = True


LAYOUTS = {
    # Goodfellow et al. 2014, section 5.1, with a third dense layer in place of the locally connected one, as in
    # Jaderberg et al. 2015, section 4.2, and with rectifiers throughout, without maxout and subtractive normalisation.
    "cnn11": Layout((48, 64, 128, 160, 192, 192, 192, 192), 5, (2, 1, 2, 1, 2, 1, 2, 1), (3072, 3072, 3072)),
    # Ba et al. 2014 give the cost of their network at 54x54 and 110x110 pixels (51 and 169 million parameters, 2.1 and
    # 8.5 billion operations) but not its layers. These layers match the parameters within 4% and, counting
    # multiplications by padding, the operations within 7%; without padding they are 1.8 and 7.6 billion in gray.
    "cnn10": Layout((48, 64, 128, 160, 192, 192, 192, 256), 5, (0, 2, 0, 0, 2, 0, 0, 2), (3072, 3072)),
    # Ba et al. 2014, section 4.1, give only the units.
    "addition_cnn": Layout((64, 64, 64), 5, (2, 2, 2), (512,)),
    # For tight crops of 32x32 pixels.
    "article_digits": Layout((32, 32, 64, 64, 128, 128), 3, (0, 2, 0, 2, 0, 2), (512,), False),
}


class MultiDigitCnn(nn.Module):
    """Convolutions with ReLU and max-pooling, dense layers with ReLU, and a linear layer of outputs.

    Dropout acts after every hidden layer except the first, at the full rate after dense layers and at a fifth of it
    after convolutions; the papers give no rate.

    Attributes:
      layout: the layers at width 1.
      num_outputs: number of outputs; None to return the features of the last dense layer.
      width: factor on the filters and on the units of the dense layers.
      dropout: dropout rate after dense layers.
      before: ``(index of a convolution, its input) -> the input to use instead``; None to leave inputs as they are.
    """

    layout: Layout
    num_outputs: int | None
    width: float = 1.0
    dropout: float = 0.5
    before: Callable[[int, Array], Array] | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B outputs"]:
        """Compute outputs of images in [0, 1]; dropout acts only when ``train``."""
        x = images
        if self.layout.centred:
            x = (images - images.mean(axis=(1, 2, 3), keepdims=True)) * INPUT_SCALE
        rectified = nn.initializers.he_normal()
        for index, (filters, stride) in enumerate(zip(self.layout.filters, self.layout.strides, strict=True)):
            if self.before is not None:
                x = self.before(index, x)
            x = nn.relu(Conv(self._scaled(filters), self.layout.kernel, kernel_init=rectified)(x))
            if stride:
                x = max_pool(x, 2, stride)
            if index:
                x = nn.Dropout(self.dropout / 5, deterministic=not train)(x)
        x = x.reshape(x.shape[0], -1)
        for units in self.layout.dense:
            x = nn.relu(nn.Dense(self._scaled(units), kernel_init=rectified)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x if self.num_outputs is None else nn.Dense(self.num_outputs)(x)

    def _scaled(self, units: int) -> int:
        return max(round(self.width * units), 1)


Heads = Literal["end", "length"]


class Output(NamedTuple):
    """An output layer: the scores and the loss of a network's outputs ``[B, D]``.

    Attributes:
      size: number of outputs D.
      scores: ``outputs -> scores`` of the classes ``[B, num_classes]``, or of the symbols ``[B, S, num_classes]``.
      loss: ``(outputs, labels [B] or [B, S]) -> [B]``: negative log-likelihood of each label, in nats.
    """

    size: int
    scores: Callable[[Array], Array]
    loss: Callable[[Array, Array], Array]


def make_output(heads: Heads, num_classes: int, num_targets: int | None) -> Output:
    """Make the output layer for labels of one class or of a sequence.

    Args:
      heads: for sequences: ``end``, S softmaxes over all symbols including the end symbol; ``length``, a softmax over
        the lengths 0 to S and S softmaxes over the digits (Goodfellow et al. 2014, section 4). Entries that no training
        label has are never trained, which is harmless: with S = 6 and numbers of at most five digits, these are the
        sixth digit and the length 6.
      num_classes: classes, or symbols of which the last is the end symbol.
      num_targets: symbols S of a label; None where a label is one class, which has one softmax.

    Returns:
      The output layer; the scores of sequences are log-probabilities ``[B, S, num_classes]``.
    """
    if num_targets is None:
        return Output(num_classes, lambda outputs: outputs, cross_entropy)
    if heads == "end":
        return _end_output(num_classes, num_targets)
    return _length_output(num_classes, num_targets)


def _end_output(num_classes: int, num_targets: int) -> Output:
    def logits(outputs: Float[Array, "B D"]) -> Float[Array, "B S C"]:
        return outputs.reshape(-1, num_targets, num_classes)

    return Output(
        num_targets * num_classes,
        lambda outputs: jax.nn.log_softmax(logits(outputs)),
        lambda outputs, labels: cross_entropy(logits(outputs), labels),
    )


def _length_output(num_classes: int, num_targets: int) -> Output:
    end = num_classes - 1

    def split(outputs: Float[Array, "B D"]) -> tuple[Array, Array]:
        lengths, digits = jnp.split(outputs, [num_targets + 1], axis=-1)
        return lengths, digits.reshape(-1, num_targets, end)

    def scores(outputs: Float[Array, "B D"]) -> Float[Array, "B S C"]:
        return joint_log_probs(*map(jax.nn.log_softmax, split(outputs)))

    def loss(outputs: Float[Array, "B D"], labels: Int[Array, "B S"]) -> Float[Array, " B"]:
        lengths, digits = split(outputs)
        inside = labels != end
        of_length = optax.softmax_cross_entropy_with_integer_labels(lengths, inside.sum(axis=-1))
        of_digits = optax.softmax_cross_entropy_with_integer_labels(digits, jnp.where(inside, labels, 0))
        return of_length + (of_digits * inside).sum(axis=-1)

    return Output(num_targets + 1 + num_targets * end, scores, loss)


def joint_log_probs(
    lengths: Float[Array, "B lengths"], digits: Float[Array, "B S D"]
) -> Float[Array, "B S num_symbols"]:
    """Compute log-probabilities of symbols such that the most likely symbols form the most likely number.

    The joint probability of a number of n digits is ``P(n)`` times the probabilities of its digits (Goodfellow et al.
    2014, section 4). The score of a symbol at a position is the highest joint log-probability of all numbers that
    continue the most likely beginning with that symbol, without the beginning's own log-probability. Scores are
    normalised over the symbols.

    Args:
      lengths: log-probabilities of the lengths 0 to S.
      digits: log-probabilities of the digits at each position.

    Returns:
      Log-probabilities of the digits and, last, of the end symbol.
    """
    before = jnp.pad(digits.max(axis=-1).cumsum(axis=-1), ((0, 0), (1, 0)))  # The best digits before each position.
    best = jax.lax.cummax(lengths + before, axis=1, reverse=True) - before  # The best rest of at least n digits.
    scores = jnp.concatenate([digits + best[:, 1:, None], lengths[:, :-1, None]], axis=-1)
    return jax.nn.log_softmax(scores)
