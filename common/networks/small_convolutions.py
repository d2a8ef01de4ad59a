"""Convolutions of small feature maps, such as glimpses, that are fast on a CPU: the batch is the last axis.

On a CPU a convolution here is one matrix product. Each of its columns is a window of the maps that yields a block of
neighbouring outputs, not just one. So the windows overlap less and are fewer, and copying them, which takes longer
than the product on maps with few channels, takes less time. The products with the zeros in between cost less than that.
With the batch as the last axis all copies are of long rows. On accelerators the convolution is XLA's own.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.networks.convolutions import convolve

# Most rows and columns of a block of outputs, and those where maps have few channels.
BLOCK, BLOCK_OF_FEW = (1, 2), (2, 4)
FEW_CHANNELS = 4
# With more windows the copies, one by one, take longer than `convolve` does, and much longer to compile.
MOST_WINDOWS = 20


def convolve_small(maps: Float[Array, "H W C B"], kernel: Float[Array, "rows columns C F"]) -> Float[Array, "h w F B"]:
    """Compute a convolution (cross-correlation) without padding: ``h = H - rows + 1``, and w likewise."""
    if math.prod(_blocks(maps, kernel)[1]) > MOST_WINDOWS:
        return jnp.moveaxis(convolve(jnp.moveaxis(maps, -1, 0), kernel), 0, -1)
    return jax.lax.platform_dependent(maps, kernel, cpu=_convolve_blocks, default=_convolve)


def _convolve(maps: Array, kernel: Array) -> Array:
    numbers = ("HWCN", "HWIO", "HWCN")
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "VALID", dimension_numbers=numbers)


def _convolve_blocks(maps: Array, kernel: Array) -> Array:
    batch = maps.shape[-1]
    *taps, _, filters = kernel.shape
    block, number = _blocks(maps, kernel)
    outputs = [side * count for side, count in zip(block, number, strict=True)]
    windows = [reach + side - 1 for reach, side in zip(taps, block, strict=True)]
    corners = [(i * block[0], j * block[1]) for i in range(number[0]) for j in range(number[1])]
    columns = [maps[i : i + windows[0], j : j + windows[1]].reshape(-1, batch) for i, j in corners]
    product = _kernel_of_blocks(kernel, block) @ jnp.stack(columns, axis=1).reshape(-1, len(corners) * batch)
    blocks = product.reshape(*block, filters, *number, batch)
    return blocks.transpose(3, 0, 4, 1, 2, 5).reshape(*outputs, filters, batch)


def _blocks(maps: Array, kernel: Array) -> tuple[list[int], list[int]]:
    """Return the rows and columns of a block of outputs, and the number of blocks along each axis."""
    outputs = [side - reach + 1 for side, reach in zip(maps.shape[:2], kernel.shape[:2], strict=True)]
    largest = BLOCK_OF_FEW if maps.shape[2] <= FEW_CHANNELS else BLOCK
    block = [math.gcd(side, most) for side, most in zip(outputs, largest, strict=True)]
    return block, [side // one for side, one in zip(outputs, block, strict=True)]


def _kernel_of_blocks(kernel: Array, block: list[int]) -> Array:
    """Return the matrix that maps a window to its block of outputs: the kernel once for each output, moved along."""
    rows, columns = block

    def moved(i: int, j: int) -> Array:
        return jnp.pad(kernel, ((i, rows - 1 - i), (j, columns - 1 - j), (0, 0), (0, 0)))

    kernels = jnp.stack([moved(i, j) for i in range(rows) for j in range(columns)])
    return jnp.moveaxis(kernels, -1, 1).reshape(rows * columns * kernel.shape[-1], -1)
