"""What glimpse networks share: the scale of their input, and the convolutions that read a glimpse."""

import flax.linen as nn
from jaxtyping import Array, Float

from common.networks.convolutions import Conv

# Glimpses in [0, 1] have a root mean square of 0.2 to 0.5; the initialisation of the layers expects about 1.
GLIMPSE_SCALE = 4.0
# Of their three kernels, which see no place beyond the glimpse.
KERNELS = (5, 3, 3)
# The smallest glimpse that they can read.
SMALLEST = 1 + sum(size - 1 for size in KERNELS)


def read_glimpse(glimpses: Float[Array, "*batch G G C"], channels: int) -> Float[Array, "*batch g g D"]:
    """Convolutions 5x5, 3x3 and 3x3 without pooling (Ba et al. 2014, section 4.2), inside a compact flax module.

    Args:
      glimpses: times `GLIMPSE_SCALE`; G is `SMALLEST` or more.
      channels: filters of the first two; the third has twice as many.

    Returns:
      Features, ``g = G - SMALLEST + 1`` and ``D = 2 * channels``.
    """
    for index, (width, size) in enumerate(zip((1, 1, 2), KERNELS, strict=True)):
        glimpses = nn.relu(Conv(width * channels, size, "VALID", name=f"what_{index}")(glimpses))
    return glimpses


def require_readable(kind: str, glimpse_size: int) -> None:
    """Raises a `ValueError` that quotes the size if a glimpse is too small for convolutions (kind ``conv``)."""
    if kind == "conv" and glimpse_size < SMALLEST:
        raise ValueError(
            f"glimpse_size {glimpse_size} with glimpse_network 'conv': its convolutions need at least {SMALLEST}"
        )
