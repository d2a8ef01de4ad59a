"""Glimpse networks: how they are plugged in, the scale of their input, convolutions on a glimpse.

A glimpse network is a flax module with the field ``features`` and ``__call__(glimpses [*batch, K, G, G, C], locations
[*batch, 2]) -> [*batch, features]``; glimpses lie in [0, 1]. It receives the `OPTIONS` that it has a field for. RAM and
DRAM have their own built-in ones; ``--glimpse-network`` chooses one by name or as ``module:Class``.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.extensions import Call, Extension, accepted, check_returned
from common.networks.small_convolutions import convolve_small

# Glimpses in [0, 1] have a root mean square of 0.2 to 0.5; the initialisation of the layers expects about 1.
GLIMPSE_GAIN = 4.0
# Sides of the three convolutions, whose outputs never reach beyond the glimpse, and of those on small glimpses.
KERNELS, SMALL_KERNELS = (5, 3, 3), (3, 3, 3)
# Sides of the smallest glimpses that they fit.
FITS_KERNELS, SMALLEST = (1 + sum(size - 1 for size in kernels) for kernels in (KERNELS, SMALL_KERNELS))
# The options of a configuration that a glimpse network may have a field for.
OPTIONS = ("combine", "glimpse_hidden", "location_hidden", "conv_channels")


def glimpse_network_kind(built_in: Mapping[str, Any]) -> Extension:
    """Describe the glimpse networks that an agent can have, given its built-in ones by name."""
    return Extension("glimpse_network", built_in, Call(named=("features",), optional=OPTIONS), base=nn.Module)


def make_glimpse_network(kind: Extension, name: str, features: int, **options: Any) -> nn.Module:
    """Build a glimpse network.

    Args:
      kind: those that the agent can have.
      name: a built-in name, or ``module:Class``.
      features: units of the output.
      options: values of `OPTIONS`; a network receives those that it has a field for.

    Raises:
      ValueError: an unknown name, or a class that is no glimpse network.
    """
    network = kind.resolve(name)
    return network(features=features, **accepted(network, options))


def stack_scales(glimpses: Float[Array, "*batch K G G C"]) -> Float[Array, "*batch G G D"]:
    """Lay the scales of glimpses on each other, as channels: ``D = K * C``."""
    glimpses = jnp.moveaxis(glimpses, -4, -2)
    return glimpses.reshape(*glimpses.shape[:-2], -1)


def convolve_glimpse(glimpses: Float[Array, "*batch G G C"], channels: int) -> Float[Array, "*batch g g D"]:
    """Apply convolutions 5x5, 3x3 and 3x3 without pooling (Ba et al. 2014, section 4.2), in a compact flax module.

    On a glimpse below 9x9 the first is 3x3 too: the retina of Mnih et al. 2014 for MNIST has 8x8 cells.

    Args:
      glimpses: scales as channels, multiplied by `GLIMPSE_GAIN`; G is `SMALLEST` or more.
      channels: filters of the first two; the third has twice as many.

    Returns:
      Features, ``g = G - 8`` (``G - 6`` on small glimpses) and ``D = 2 * channels``.
    """
    kernels = KERNELS if glimpses.shape[-2] >= FITS_KERNELS else SMALL_KERNELS
    maps = jnp.moveaxis(glimpses.reshape(-1, *glimpses.shape[-3:]), 0, -1)
    for index, (width, size) in enumerate(zip((1, 1, 2), kernels, strict=True)):
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        maps = nn.relu(_SmallConv(width * channels, size, name=f"what_{index}")(maps))
    return jnp.moveaxis(maps, -1, 0).reshape(*glimpses.shape[:-3], *maps.shape[:-1])


class _SmallConv(nn.Module):
    """A convolutional layer by `convolve_small`, with a bias; parameters as those of `flax.linen.Conv`."""

    filters: int
    size: int

    @nn.compact
    def __call__(self, maps: Float[Array, "H W C B"]) -> Float[Array, "h w filters B"]:
        shape = (self.size, self.size, maps.shape[-2], self.filters)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.filters,))
        return convolve_small(maps, kernel) + bias[None, None, :, None]


def check_glimpse_size(glimpse_network: str, glimpse_size: int) -> None:
    """Check that a glimpse is large enough for the convolutions of the glimpse network ``conv``.

    Raises:
      ValueError: it is not.
    """
    if glimpse_network == "conv" and glimpse_size < SMALLEST:
        raise ValueError(
            f"glimpse_size {glimpse_size} with glimpse_network 'conv': its convolutions need at least {SMALLEST}"
        )


def encode_glimpses(
    network: nn.Module, glimpses: Float[Array, "*batch K G G C"], locations: Float[Array, "*batch 2"]
) -> Float[Array, "*batch features"]:
    """Apply a glimpse network.

    Raises:
      ValueError: it returned something of another shape or type.
    """
    features = network(glimpses, locations)
    check_returned("glimpse network", features, (*locations.shape[:-1], network.features), "[*batch, features]")
    return features
