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

# Rows and columns of a block of outputs where maps have few channels, and where they have more.
FEW_CHANNELS, NARROW_BLOCK, WIDE_BLOCK = 4, (2, 4), (1, 2)


def convolve_small(maps: Float[Array, "H W C B"], kernel: Float[Array, "rows columns C F"]) -> Float[Array, "h w F B"]:
    """Compute a convolution (cross-correlation) without padding: ``h = H - rows + 1``, and w likewise."""
    return jax.lax.platform_dependent(maps, kernel, cpu=_convolve_blocks, default=_convolve)


def _convolve(maps: Array, kernel: Array) -> Array:
    numbers = ("HWCN", "HWIO", "HWCN")
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "VALID", dimension_numbers=numbers)


def _convolve_blocks(maps: Array, kernel: Array) -> Array:
    *_, channels, batch = maps.shape
    *taps, _, filters = kernel.shape
    outputs = [side - reach + 1 for side, reach in zip(maps.shape[:2], taps, strict=True)]
    largest = NARROW_BLOCK if channels <= FEW_CHANNELS else WIDE_BLOCK
    block = [math.gcd(side, most) for side, most in zip(outputs, largest, strict=True)]
    windows = [reach + side - 1 for reach, side in zip(taps, block, strict=True)]
    number = [side // one for side, one in zip(outputs, block, strict=True)]
    corners = [(i * block[0], j * block[1]) for i in range(number[0]) for j in range(number[1])]
    columns = [maps[i : i + windows[0], j : j + windows[1]].reshape(-1, batch) for i, j in corners]
    product = _kernel_of_blocks(kernel, block) @ jnp.stack(columns, axis=1).reshape(-1, len(corners) * batch)
    blocks = product.reshape(*block, filters, *number, batch)
    return blocks.transpose(3, 0, 4, 1, 2, 5).reshape(*outputs, filters, batch)


def _kernel_of_blocks(kernel: Array, block: list[int]) -> Array:
    """Return the matrix that maps a window to its block of outputs: the kernel once for each output, moved along."""
    rows, columns = block

    def moved(i: int, j: int) -> Array:
        return jnp.pad(kernel, ((i, rows - 1 - i), (j, columns - 1 - j), (0, 0), (0, 0)))

    kernels = jnp.stack([moved(i, j) for i in range(rows) for j in range(columns)])
    return jnp.moveaxis(kernels, -1, 1).reshape(rows * columns * kernel.shape[-1], -1)
