"""Localisation networks: from an image or a feature map to the parameters of its transformation.

They start at the identity for every image (Jaderberg et al. 2015, section 3.1): the last layer starts at zero and is
added to the parameters of the identity, so weight decay also pulls towards the identity.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from common.networks.convolutions import Conv, max_pool

# Name of the modules whose parameters belong to localisation networks.
NAME = "localisation"


def rate_factors(params: PyTree, factor: float) -> PyTree:
    """Return factors on the learning rate: ``factor`` for localisation networks, 1 for all other parameters.

    The training step multiplies the updates by them after the optimiser (`common.training.step.Model`). The paper
    trains the localisation networks of house numbers at a tenth of the rate of SGD, where scaling the gradients would
    do the same. Adam divides each gradient by its own size, so scaling the gradients would have almost no effect.

    Returns:
      A tree of floats with the structure of ``params``.
    """

    def factor_of(path: tuple, _: Any) -> float:
        return factor if any(NAME in str(getattr(key, "key", key)) for key in path) else 1.0

    return jax.tree_util.tree_map_with_path(factor_of, params)


class _Regression(nn.Module):
    """ReLU layers of ``units``, then a linear layer that is added to the parameters of the identity."""

    identity: tuple[float, ...]
    units: int
    layers: int

    @nn.compact
    def __call__(self, features: Float[Array, "B F"]) -> Float[Array, "B P"]:
        for _ in range(self.layers):
            features = nn.relu(nn.Dense(self.units)(features))
        change = nn.Dense(len(self.identity), kernel_init=nn.initializers.zeros, name="parameters")(features)
        return jnp.asarray(self.identity, change.dtype)[None] + change


def average_pool(images: Float[Array, "B H W C"], factor: int) -> Float[Array, "B h w C"]:
    """Average squares of ``factor x factor`` pixels; those at the lower and right edge may be cut off."""
    if factor == 1:
        return images
    window = (factor, factor)
    # "SAME" would cut off squares at the upper and left edge too.
    padding = [(0, -length % factor) for length in images.shape[1:3]]
    return nn.avg_pool(images, window, strides=window, padding=padding, count_include_pad=False)


class DenseLocalisation(nn.Module):
    """ReLU layers on all pixels; the ST-FCN of Jaderberg et al. 2015 has three of 32 units (appendix A.4).

    Attributes:
      identity: parameters of the identity.
      units: units of each layer.
      layers: number of layers.
      downsample: factor by which the image is averaged first.
    """

    identity: tuple[float, ...]
    units: int = 32
    layers: int = 3
    downsample: int = 1

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B P"]:
        """Compute the parameters of the transformation of each image or feature map."""
        small = average_pool(images, self.downsample)
        regression = _Regression(self.identity, self.units, self.layers, name="regression")
        return regression(small.reshape(small.shape[0], -1))


class ConvolutionalLocalisation(nn.Module):
    """Two 5x5 convolutions without padding, 2x2 max-pooling between them, and ReLU layers.

    The ST-CNN of Jaderberg et al. 2015 (appendix A.4) has 20 filters and one layer of 20 units, on an image averaged
    by 2.

    Attributes:
      identity: parameters of the identity.
      filters: filters of each convolution.
      units: units of each dense layer.
      layers: number of dense layers.
      downsample: factor by which the image is averaged first.
    """

    identity: tuple[float, ...]
    filters: int = 20
    units: int = 20
    layers: int = 1
    downsample: int = 2

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B P"]:
        """Compute the parameters of the transformation of each image or feature map."""
        x = average_pool(images, self.downsample)
        x = nn.relu(Conv(self.filters, 5, "VALID")(x))
        x = max_pool(x)
        x = nn.relu(Conv(self.filters, 5, "VALID")(x))
        regression = _Regression(self.identity, self.units, self.layers, name="regression")
        return regression(x.reshape(x.shape[0], -1))
