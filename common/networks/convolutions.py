"""Convolutions and max-pooling whose gradients are fast on a CPU, also inside a loop.

On a CPU, XLA compiles the gradients of a convolution in a loop, such as training steps in a scan, to generic code that
is 9 to 24 times slower than this module. Here the gradient with respect to the input is again a convolution, and the
gradient with respect to the kernel a matrix product for each tap. On accelerators XLA's own gradients are used. All
values are equal up to rounding.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = Literal["SAME", "VALID"]
# Up to this many channels one matrix product for all taps of a kernel is faster than one for each tap.
FEW_CHANNELS = 4


def convolve(
    images: Float[Array, "B H W C"],
    kernel: Float[Array, "rows columns C F"],
    padding: Padding = "VALID",
    stride: int = 1,
) -> Float[Array, "B h w F"]:
    """Compute a convolution (cross-correlation).

    Args:
      images: feature maps.
      kernel: kernel with an odd number of rows and columns if the padding is ``SAME`` and the stride 1.
      padding: ``VALID`` for none, so that h = (H - rows) // stride + 1 and w likewise; ``SAME`` for zeros around the
        image so that h = ceil(H / stride) and w likewise.
      stride: pixels between outputs.
    """
    rows, columns = kernel.shape[:2]
    if stride > 1:
        cpu, default = (functools.partial(f, padding=padding, stride=stride) for f in (_strided_on_cpu, _plain))
        return jax.lax.platform_dependent(images, kernel, cpu=cpu, default=default)
    if padding == "VALID":
        return _convolve(images, kernel, (0, 0))
    return _convolve(images, kernel, (rows // 2, columns // 2))


# Rows of zeros above and below, and columns of zeros at the left and at the right.
Margin = tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(images: Array, kernel: Array, margin: Margin) -> Array:
    cpu, default = functools.partial(_on_cpu, margin=margin), functools.partial(_plain, padding=_sides(margin))
    return jax.lax.platform_dependent(images, kernel, cpu=cpu, default=default)


def _sides(margin: Margin) -> list[tuple[int, int]]:
    return [(side, side) for side in margin]


def _plain(images: Array, kernel: Array, padding: Padding | list[tuple[int, int]], stride: int = 1) -> Array:
    steps = (stride, stride)
    return jax.lax.conv_general_dilated(images, kernel, steps, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _on_cpu(images: Array, kernel: Array, margin: Margin) -> Array:
    height, width = _output_size(images, kernel.shape[:2], margin)
    if height * width > kernel.shape[0] * kernel.shape[1]:
        return _plain(images, kernel, _sides(margin))
    # On so small a map XLA's convolution is mostly overhead; this is a matrix product for each row of the kernel.
    wide = _widen(images, margin)
    windows = jnp.concatenate([wide[:, :, j : j + width] for j in range(kernel.shape[1])], axis=3)
    return sum(windows[:, i : i + height] @ row.reshape(-1, row.shape[-1]) for i, row in enumerate(kernel))


def _strided_on_cpu(images: Array, kernel: Array, padding: Padding, stride: int) -> Array:
    """Compute a strided convolution as one matrix product, whose gradients are matrix products too."""
    sides = jax.lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    taps = _taps(jnp.pad(images, ((0, 0), *sides, (0, 0))), kernel.shape[:2], stride)
    return jnp.stack(taps, axis=3).reshape(*taps[0].shape[:3], -1) @ kernel.reshape(-1, kernel.shape[-1])


def _output_size(images: Array, size: tuple[int, ...], margin: Margin) -> tuple[int, ...]:
    return tuple(full + 2 * side - taps + 1 for full, side, taps in zip(images.shape[1:3], margin, size, strict=True))


def _widen(images: Array, margin: Margin) -> Array:
    return jnp.pad(images, ((0, 0), *_sides(margin), (0, 0)))


def _taps(images: Array, size: tuple[int, ...], stride: int = 1) -> list[Float[Array, "B h w C"]]:
    """Return the pixels under each tap of a kernel, row by row, for all places where the kernel fits on the image."""
    rows, columns = size
    last_row, last_column = images.shape[1] - rows, images.shape[2] - columns
    starts = [(i, j) for i in range(rows) for j in range(columns)]
    return [images[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride] for i, j in starts]


def _forward(images: Array, kernel: Array, margin: Margin) -> tuple[Array, Any]:
    return _convolve(images, kernel, margin), (images, kernel)


def _backward(margin: Margin, residuals: Any, gradient: Array) -> tuple[Array, Array]:
    def derived(images: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        return jax.vjp(functools.partial(_plain, padding=_sides(margin)), images, kernel)[1](gradient)

    def by_hand(images: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        return _to_images(images, kernel, gradient, margin), _to_kernel(images, kernel, gradient, margin)

    return jax.lax.platform_dependent(*residuals, gradient, cpu=by_hand, default=derived)


def _to_images(images: Array, kernel: Array, gradient: Array, margin: Margin) -> Array:
    """Compute the gradient of the images: the output's gradient convolved with the flipped kernel."""
    mostly_zeros = math.prod(images.shape[1:3]) > 2 * math.prod(gradient.shape[1:3])
    if mostly_zeros or images.shape[-1] <= FEW_CHANNELS:
        return _spread(images, kernel, gradient, margin)
    rows, columns = kernel.shape[:2]
    # Without the barriers XLA turns this into its own gradient again.
    flipped = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    return _on_cpu(jax.lax.optimization_barrier(gradient), flipped, (rows - 1 - margin[0], columns - 1 - margin[1]))


def _spread(images: Array, kernel: Array, gradient: Array, margin: Margin) -> Array:
    """Compute the gradient of the images by adding each output's gradient to the pixels under the kernel."""
    rows, columns, channels, _ = kernel.shape
    height, width = gradient.shape[1:3]
    total = jnp.moveaxis(jnp.zeros_like(_widen(images, margin)), -1, 0)
    # One product for all taps if it is narrow.
    taps = jnp.einsum("ijcf,bhwf->ijcbhw", kernel, gradient) if channels <= FEW_CHANNELS else None
    for i in range(rows):
        for j in range(columns):
            tap = taps[i, j] if taps is not None else jnp.einsum("cf,bhwf->cbhw", kernel[i, j], gradient)
            total = total.at[:, :, i : i + height, j : j + width].add(tap)
    total = jnp.moveaxis(total, 0, -1)
    return total[:, margin[0] : margin[0] + images.shape[1], margin[1] : margin[1] + images.shape[2]]


def _to_kernel(images: Array, kernel: Array, gradient: Array, margin: Margin) -> Array:
    """Compute the gradient of the kernel: a matrix product for each tap, or one for all taps if each is narrow."""
    taps = _taps(_widen(images, margin), kernel.shape[:2])
    if images.shape[-1] <= FEW_CHANNELS:
        # Taps and channels come first, so that neither factor of the product has to be transposed.
        rows = jnp.stack([jnp.moveaxis(tap, -1, 0) for tap in taps]).reshape(-1, gradient[..., 0].size)
        return (rows @ gradient.reshape(-1, gradient.shape[-1])).reshape(kernel.shape)
    # In this order of the factors, and as matrices, products of large batches can take half the time.
    flat = gradient.reshape(-1, gradient.shape[-1]).T
    return jnp.stack([(flat @ tap.reshape(-1, tap.shape[-1])).T for tap in taps]).reshape(kernel.shape)


_convolve.defvjp(_forward, _backward)


class Conv(nn.Module):
    """A convolutional layer by `convolve`, with a bias; parameters as those of `flax.linen.Conv`.

    Attributes:
      filters: number of filters.
      size: side of the square kernels in pixels.
      padding: padding of `convolve`.
      stride: stride of `convolve`.
      kernel_init: initialiser of the kernels.
    """

    filters: int
    size: int
    padding: Padding = "SAME"
    stride: int = 1
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, images: Float[Array, "*batch H W C"]) -> Float[Array, "*batch h w filters"]:
        """Convolve feature maps."""
        shape = (self.size, self.size, images.shape[-1], self.filters)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.filters,))
        maps = convolve(images.reshape(-1, *images.shape[-3:]), kernel, self.padding, self.stride)
        return (maps + bias[None, None, None]).reshape(*images.shape[:-3], *maps.shape[1:])


def max_pool(
    images: Float[Array, "B H W C"], size: int = 2, stride: int | None = None, padding: Padding = "SAME"
) -> Float[Array, "B h w C"]:
    """Return the largest values of ``size x size`` windows, one every ``stride`` pixels.

    Several equal largest values share the gradient. XLA's own pooling gives it to one of them and is slower on a CPU.

    Args:
      images: feature maps.
      size: side of a window.
      stride: pixels between windows; None for ``size``.
      padding: ``SAME`` for h = ceil(H / stride) and w likewise, where the last windows may reach beyond the image;
        ``VALID`` for windows on the image alone.
    """
    stride = size if stride is None else stride
    if padding == "SAME":
        reach = [(0, max((-(-side // stride) - 1) * stride + size - side, 0)) for side in images.shape[1:3]]
        images = jnp.pad(images, ((0, 0), *reach, (0, 0)), constant_values=-jnp.inf)
    if stride != size:
        return functools.reduce(jnp.maximum, _taps(images, (size, size), stride))
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    blocks = images[:, : rows * size, : columns * size].reshape(batch, rows, size, columns, size, channels)
    return blocks.max((2, 4))
