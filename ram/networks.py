"""The glimpse network of RAM (Mnih et al. 2014, section 4)."""

import flax.linen as nn
from jaxtyping import Array, Float

from common.networks.glimpse_networks import GLIMPSE_SCALE


class GlimpseNetwork(nn.Module):
    """Joins what was seen and where: ``relu(Linear(what) + Linear(where))``, or their product.

    Attributes:
      glimpse_hidden: units of the first layer on the glimpse.
      location_hidden: units of the first layer on the location.
      features: units of the joint layer.
      combine: ``add`` (RAM) or ``multiply`` (elementwise, as in DRAM).
    """

    glimpse_hidden: int
    location_hidden: int
    features: int
    combine: str = "add"

    @nn.compact
    def __call__(
        self, glimpses: Float[Array, "*batch K G G C"], locations: Float[Array, "*batch 2"]
    ) -> Float[Array, "*batch features"]:
        """Glimpse in [0, 1] and normalised location to features."""
        what = GLIMPSE_SCALE * glimpses.reshape(*glimpses.shape[:-4], -1)
        what = nn.Dense(self.features, name="what_out")(nn.relu(nn.Dense(self.glimpse_hidden, name="what")(what)))
        where = nn.relu(nn.Dense(self.location_hidden, name="where")(locations))
        where = nn.Dense(self.features, name="where_out")(where)
        return nn.relu(what + where) if self.combine == "add" else nn.relu(what) * nn.relu(where)
