"""The glimpse networks of RAM (Mnih et al. 2014, section 4)."""

import flax.linen as nn
from jaxtyping import Array, Float

from common.networks.glimpse_networks import GLIMPSE_GAIN, convolve_glimpse, glimpse_network_kind, stack_scales


class GlimpseNetwork(nn.Module):
    """Joins glimpse and location: ``relu(Linear(relu(Linear(glimpse))) + Linear(relu(Linear(location))))``.

    Attributes:
      features: units of the output.
      glimpse_hidden: units of the first layer on the glimpse.
      location_hidden: units of the first layer on the location.
      combine: ``add`` (RAM) or ``multiply`` (elementwise, after the ReLU, as in DRAM).
    """

    features: int
    glimpse_hidden: int
    location_hidden: int
    combine: str = "add"

    def encode(self, glimpses: Float[Array, "*batch K G G C"]) -> Float[Array, "*batch D"]:
        """Flatten glimpses."""
        return GLIMPSE_GAIN * glimpses.reshape(*glimpses.shape[:-4], -1)

    @nn.compact
    def __call__(
        self, glimpses: Float[Array, "*batch K G G C"], locations: Float[Array, "*batch 2"]
    ) -> Float[Array, "*batch features"]:
        """Compute features from a glimpse in [0, 1] and its normalised location."""
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        glimpse = nn.relu(nn.Dense(self.glimpse_hidden, name="what")(self.encode(glimpses)))
        glimpse = nn.Dense(self.features, name="what_out")(glimpse)
        location = nn.relu(nn.Dense(self.location_hidden, name="where")(locations))
        location = nn.Dense(self.features, name="where_out")(location)
        return nn.relu(glimpse + location) if self.combine == "add" else nn.relu(glimpse) * nn.relu(location)


class ConvGlimpseNetwork(GlimpseNetwork):
    """`GlimpseNetwork` with the convolutions of DRAM before the layers on the glimpse (Ba et al. 2014, section 4.2).

    Attributes:
      conv_channels: filters of the first two convolutions; the third has twice as many.
    """

    conv_channels: int = 64

    def encode(self, glimpses: Float[Array, "*batch K G G C"]) -> Float[Array, "*batch D"]:
        """Convolve glimpses, with scales as channels, and flatten the features."""
        features = convolve_glimpse(GLIMPSE_GAIN * stack_scales(glimpses), self.conv_channels)
        return features.reshape(*features.shape[:-3], -1)


GLIMPSE_NETWORK = glimpse_network_kind({"dense": GlimpseNetwork, "conv": ConvGlimpseNetwork})
