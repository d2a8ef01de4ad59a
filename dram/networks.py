"""The glimpse and context networks of DRAM (Ba et al. 2014, section 3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from common.networks.convolutions import Conv
from common.networks.glimpse_networks import GLIMPSE_SCALE, read_glimpse


class GlimpseNetwork(nn.Module):
    """Joins what was seen and where, by default as their elementwise product (Ba et al. 2014, equation 1).

    Attributes:
      kind: ``dense`` (one layer, for MNIST) or ``conv`` (5x5, 3x3 and 3x3 without pooling, then a dense layer).
      channels: filters of the first two convolutions; the third has twice as many.
      features: units of the output.
      combine: ``multiply`` (DRAM) or ``add`` (RAM).
    """

    kind: str
    channels: int
    features: int
    combine: str = "multiply"

    @nn.compact
    def __call__(
        self, glimpses: Float[Array, "*batch K G G C"], locations: Float[Array, "*batch 2"]
    ) -> Float[Array, "*batch features"]:
        """Glimpse in [0, 1] and location in units to features."""
        what = GLIMPSE_SCALE * jnp.moveaxis(glimpses, -4, -2)  # The scales lie over each other, as channels do.
        what = what.reshape(*what.shape[:-2], -1)
        if self.kind == "conv":
            what = read_glimpse(what, self.channels)
        what = nn.relu(nn.Dense(self.features, name="what")(what.reshape(*what.shape[:-3], -1)))
        # As a factor, 1 is neutral: a bias of 0 would silence every glimpse in the middle, and half of what others see.
        bias = nn.initializers.ones if self.combine == "multiply" else nn.initializers.zeros
        where = nn.relu(nn.Dense(self.features, bias_init=bias, name="where")(locations))
        return what * where if self.combine == "multiply" else what + where


class ContextNetwork(nn.Module):
    """The coarse image to features: three 3x3 convolutions, the first two with stride 2 (Ba et al. 2014, section 3).

    Attributes:
      size: side of the coarse image, in pixels.
      channels: filters of each convolution.
    """

    size: int
    channels: int

    @nn.compact
    def __call__(self, images: Integer[Array, "B H W C"]) -> Float[Array, "B D"]:
        """Whole images in levels of 1/255 to features, ``D = channels * ceil(size / 4) ** 2``."""
        x = coarse(images, self.size) * GLIMPSE_SCALE
        for index, strides in enumerate((2, 2, 1)):
            x = nn.relu(Conv(self.channels, 3, stride=strides, name=f"layer_{index}")(x))
        return x.reshape(x.shape[0], -1)


def coarse(images: Integer[Array, "B H W C"], size: int) -> Float[Array, "B size size C"]:
    """The whole image, in levels of 1/255, at a low resolution, in units of white.

    Bilinear resizing, antialiased, to ``size x size`` pixels.
    """
    shape = (images.shape[0], size, size, images.shape[3])
    return jax.image.resize(images / 255.0, shape, "linear")
