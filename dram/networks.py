"""The glimpse networks and the context network of DRAM (Ba et al. 2014, section 3)."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Integer

from common.networks.convolutions import Conv
from common.networks.glimpse_networks import GLIMPSE_GAIN, convolve_glimpse, glimpse_network_kind, stack_scales


class GlimpseNetwork(nn.Module):
    """Joins glimpse and location, by default as the product of one layer on each (Ba et al. 2014, equation 1).

    Attributes:
      features: units of the output.
      combine: ``multiply`` (elementwise, DRAM) or ``add`` (RAM).
    """

    features: int
    combine: str = "multiply"

    def encode(self, glimpses: Float[Array, "*batch G G D"]) -> Float[Array, "*batch g g F"]:
        """Return glimpses unchanged; `ConvGlimpseNetwork` convolves them."""
        return glimpses

    @nn.compact
    def __call__(
        self, glimpses: Float[Array, "*batch K G G C"], locations: Float[Array, "*batch 2"]
    ) -> Float[Array, "*batch features"]:
        """Compute features from a glimpse in [0, 1] and its location, in units of ``unit_width``."""
        glimpse = self.encode(GLIMPSE_GAIN * stack_scales(glimpses))
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        glimpse = nn.relu(nn.Dense(self.features, name="what")(glimpse.reshape(*glimpse.shape[:-3], -1)))
        # As a factor, 1 is neutral: with a bias of 0 many units would silence the glimpse at the start.
        bias = nn.initializers.ones if self.combine == "multiply" else nn.initializers.zeros
        location = nn.relu(nn.Dense(self.features, bias_init=bias, name="where")(locations))
        return glimpse * location if self.combine == "multiply" else glimpse + location


class ConvGlimpseNetwork(GlimpseNetwork):
    """`GlimpseNetwork` with convolutions 5x5, 3x3 and 3x3 without pooling before the layer on the glimpse.

    These are the convolutions of Ba et al. 2014, section 4.2.

    Attributes:
      conv_channels: filters of the first two convolutions; the third has twice as many.
    """

    conv_channels: int = 64

    def encode(self, glimpses: Float[Array, "*batch G G D"]) -> Float[Array, "*batch g g F"]:
        """Convolve glimpses."""
        return convolve_glimpse(glimpses, self.conv_channels)


GLIMPSE_NETWORK = glimpse_network_kind({"dense": GlimpseNetwork, "conv": ConvGlimpseNetwork})


class ContextNetwork(nn.Module):
    """Features of the coarse image: three 3x3 convolutions, the first two with stride 2 (Ba et al. 2014, section 3).

    Attributes:
      size: side of the coarse image, in pixels.
      channels: filters of each convolution.
    """

    size: int
    channels: int

    @nn.compact
    def __call__(self, images: Integer[Array, "B H W C"]) -> Float[Array, "B D"]:
        """Compute features of whole images, in levels of 1/255: ``D = channels * ceil(size / 4) ** 2``."""
        x = coarse(images, self.size) * GLIMPSE_GAIN
        for index, strides in enumerate((2, 2, 1)):
            x = nn.relu(Conv(self.channels, 3, stride=strides, name=f"layer_{index}")(x))
        return x.reshape(x.shape[0], -1)


def coarse(images: Integer[Array, "B H W C"], size: int) -> Float[Array, "B size size C"]:
    """Resize images, in levels of 1/255, to ``size x size`` pixels in units of white: bilinear, antialiased."""
    shape = (images.shape[0], size, size, images.shape[3])
    return jax.image.resize(images / 255.0, shape, "linear")
