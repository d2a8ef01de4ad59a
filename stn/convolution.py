"""Convolutions without padding, with a gradient that is fast on a CPU.

The derived gradient to the input of such a convolution is a convolution of the output's gradient with a wide margin of
zeros, and multiplies by all of them: six times the work for the 7x7 kernels here on maps of 10x10. On a CPU this module
instead spreads each output's gradient over the pixels that it came from. Accelerators keep the derived gradient.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# With so few channels one matrix product for all taps of the kernel is faster than one for each.
FEW_CHANNELS = 4


def _convolve(images: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def convolve(images: Float[Array, "B H W C"], kernel: Float[Array, "rows columns C F"]) -> Float[Array, "B h w F"]:
    """Convolution (cross-correlation) without padding, stride 1: h = H - rows + 1, and w likewise."""
    return _convolve(images, kernel)


def _forward(images: Array, kernel: Array) -> tuple[Array, Any]:
    return _convolve(images, kernel), (images, kernel)


def _backward(kept: Any, gradient: Array) -> tuple[Array, Array]:
    images, kernel = kept
    (to_kernel,) = jax.vjp(lambda k: _convolve(images, k), kernel)[1](gradient)

    def derived(gradient: Array, kernel: Array) -> Array:
        return jax.vjp(lambda x: _convolve(x, kernel), images)[1](gradient)[0]

    return jax.lax.platform_dependent(gradient, kernel, cpu=_spread, default=derived), to_kernel


def _spread(gradient: Array, kernel: Array) -> Array:
    """The gradient to the input, tap by tap of the kernel."""
    rows, columns, channels, _ = kernel.shape
    batch, height, width, _ = gradient.shape
    total = jnp.zeros((batch, height + rows - 1, width + columns - 1, channels), gradient.dtype)
    together = channels <= FEW_CHANNELS
    taps = jnp.einsum("bhwf,ijcf->bhwijc", gradient, kernel) if together else None
    for i in range(rows):
        for j in range(columns):
            tap = taps[:, :, :, i, j] if taps is not None else jnp.einsum("bhwf,cf->bhwc", gradient, kernel[i, j])
            total = total.at[:, i : i + height, j : j + width].add(tap)
    return total


convolve.defvjp(_forward, _backward)


class ValidConv(nn.Module):
    """A layer of `convolve` with a bias, ``size x size`` kernels; parameters as those of `flax.linen.Conv`."""

    filters: int
    size: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B h w filters"]:
        """Feature maps to feature maps."""
        shape = (self.size, self.size, images.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return convolve(images, kernel) + self.param("bias", nn.initializers.zeros, (self.filters,))[None, None, None]
