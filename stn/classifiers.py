"""Classifiers of distorted digits, fully connected and convolutional (Jaderberg et al. 2015, appendix A.4).

Both map images to features; a `common.networks.targets.Head` maps the features to logits.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from common.networks.convolutions import Conv, max_pool


class Fcn(nn.Module):
    """Two ReLU layers of ``units``: the FCN of Jaderberg et al. 2015, appendix A.4.

    Attributes:
      units: units of each layer.
      dropout: fraction of each layer's outputs that is dropped in training.
    """

    units: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B units"]:
        """Compute features; dropout acts only when ``train``."""
        x = images.reshape(images.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.units)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class Cnn(nn.Module):
    """A 9x9 and a 7x7 convolution without padding, each with 2x2 max-pooling (Jaderberg et al. 2015, appendix A.4).

    Attributes:
      filters: filters of each convolution.
      dropout: fraction of the features that is dropped in training.
    """

    filters: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B F"]:
        """Compute features; dropout acts only when ``train``."""
        x = max_pool(nn.relu(Conv(self.filters, 9, "VALID")(images)))
        x = max_pool(nn.relu(Conv(self.filters, 7, "VALID")(x)))
        return nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
