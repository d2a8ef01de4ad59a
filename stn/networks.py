"""Classification networks: fully connected, convolutional, and the eleven layers for house numbers.

All take images and give features, of which a `stn.targets.Head` makes logits.
"""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from common.convolution import Conv, max_pool

# Filters of the convolutions, and units of the dense layers, of the network for house numbers.
NUMBERS_FILTERS = (48, 64, 128, 160, 192, 192, 192, 192)
NUMBERS_UNITS = (3072, 3072, 3072)
# The convolutions that are followed by a pooling.
NUMBERS_POOLED = (0, 2, 4, 6)


class Fcn(nn.Module):
    """Two ReLU layers of ``units``: the FCN of the paper (appendix A.4).

    Attributes:
      units: of each layer.
      dropout: part of each layer's outputs that is dropped in training.
    """

    units: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B units"]:
        """Images to features; dropout acts only when ``train``."""
        x = images.reshape(images.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.units)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class Cnn(nn.Module):
    """A 9x9 and a 7x7 convolution without padding, each with 2x2 max-pooling: the CNN of the paper (appendix A.4).

    Attributes:
      filters: of each convolution.
      dropout: part of the features that is dropped in training.
    """

    filters: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B F"]:
        """Images to features; dropout acts only when ``train``."""
        x = max_pool(nn.relu(Conv(self.filters, 9, "VALID")(images)))
        x = max_pool(nn.relu(Conv(self.filters, 7, "VALID")(x)))
        return nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))


class NumbersCnn(nn.Module):
    """Eight 5x5 convolutions and three dense layers, as in the CNN of the paper for house numbers (appendix A.3).

    2x2 max-pooling follows the first convolution and every second one after it. Dropout precedes the dense layers; the
    paper has it behind convolutions too.

    Attributes:
      width: factor on all filters and units.
      dropout: part of the inputs of a dense layer that is dropped in training.
      before: ``(index of a convolution, its input) -> what it gets instead``; where transformers go.
    """

    width: float = 1.0
    dropout: float = 0.5
    before: Callable[[int, Array], Array] | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B F"]:
        """Images to features; dropout acts only when ``train``."""
        x = images
        for index, filters in enumerate(NUMBERS_FILTERS):
            if self.before is not None:
                x = self.before(index, x)
            x = nn.relu(Conv(max(round(self.width * filters), 1), 5)(x))
            if index in NUMBERS_POOLED:
                x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for units in NUMBERS_UNITS:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(nn.Dense(max(round(self.width * units), 1))(x))
        return x
