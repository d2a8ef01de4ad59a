"""Classification networks for distorted digits: fully connected and convolutional.

Both take images and give features, of which a `common.networks.targets.Head` makes logits.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from common.networks.convolutions import Conv, max_pool


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
