"""Compare the speed of convolutions with XLA's own: ``python -m experiments.benchmarks.convolution_speed``."""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from common.checks import Range, check_ranges
from common.networks.convolutions import Padding, convolve, max_pool
from common.networks.small_convolutions import convolve_small
from experiments.cli.command_line import computing, parse
from experiments.output.json_files import write_json
from experiments.training.provenance import environment


@dataclass(frozen=True)
class ConvolutionSpeedConfig:
    """Speed of the gradients of layers in a scan of a few steps: layers of the 11-layer CNN at half its width on 32x32
    images, of the CNN for distorted MNIST, whose convolutions have no padding, and of the glimpse network of RAM."""

    batch_size: Annotated[int, Range(1)] = 32
    """Images in a batch."""
    steps: Annotated[int, Range(1)] = 2
    """Steps of the scan."""
    rounds: Annotated[int, Range(1)] = 2
    """Number of measurements of each; the fastest counts."""
    output: Path | None = None
    """JSON file for the results; without it only the table is printed."""


@dataclass(frozen=True)
class Layer:
    """A layer and the size of its input.

    Attributes:
      side: rows and columns of the feature maps.
      channels: channels of the feature maps.
      filters: filters of a convolution; 0 for 2x2 max-pooling.
      kernel: side of the kernels.
      padding: padding of the convolution.
      stride: stride of the pooling.
      small: whether ours is `convolve_small`, with the batch as the last axis.
    """

    side: int
    channels: int
    filters: int = 0
    kernel: int = 5
    padding: Padding = "SAME"
    stride: int = 1
    small: bool = False


LAYERS = (
    *(Layer(32, 1, 24), Layer(16, 24, 32), Layer(8, 80, 96), Layer(4, 96, 96), Layer(16, 32)),
    *(Layer(28, 1, 88, 9, "VALID"), Layer(10, 88, 88, 7, "VALID"), Layer(20, 88, stride=2)),
    *(Layer(12, 4, 16, 5, "VALID", small=True), Layer(8, 16, 16, 3, "VALID", small=True)),
    Layer(6, 16, 32, 3, "VALID", small=True),
)


def plain(images: Array, kernel: Array, padding: Padding) -> Array:
    """Compute a convolution with XLA's own gradients."""
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def contenders(layer: Layer) -> dict[str, Callable[[Array, Array], Array]]:
    """Return the functions to compare: ``(images, kernel) -> maps``."""
    if layer.small:

        def batch_last(images: Array, kernel: Array) -> Array:
            return convolve_small(images.transpose(1, 2, 3, 0), kernel)

        return {"xla": functools.partial(plain, padding=layer.padding), "ours": batch_last}
    if layer.filters:
        return {
            "xla": functools.partial(plain, padding=layer.padding),
            "ours": functools.partial(convolve, padding=layer.padding),
        }
    strides = (layer.stride, layer.stride)
    return {
        "xla": lambda images, kernel: nn.max_pool(images, (2, 2), strides, "SAME") + 0 * kernel.sum(),
        "ours": lambda images, kernel: max_pool(images, 2, layer.stride) + 0 * kernel.sum(),
    }


def measure_seconds(function: Callable[[Array, Array], Array], layer: Layer, config: ConvolutionSpeedConfig) -> float:
    """Measure the seconds of one step of a scan, value and gradients; the fastest of the rounds."""
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (config.batch_size, layer.side, layer.side, layer.channels))
    kernel = jax.random.normal(keys[1], (layer.kernel, layer.kernel, layer.channels, max(layer.filters, 1)))
    gradients = jax.grad(lambda *x: jnp.square(function(*x)).sum(), (0, 1))

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        of_images, of_kernel = gradients(*carry)
        return (carry[0] - 1e-6 * of_images, carry[1] - 1e-6 * of_kernel), None

    run = jax.jit(lambda *x: jax.lax.scan(step, x, None, length=config.steps)[0])
    jax.block_until_ready(run(images, kernel))
    times = []
    for _ in range(config.rounds):
        start = time.perf_counter()
        jax.block_until_ready(run(images, kernel))
        times.append((time.perf_counter() - start) / config.steps)
    return min(times)


def measure(config: ConvolutionSpeedConfig) -> None:
    """Measure all layers, print a table and write the results.

    Raises:
      ValueError: a number that is not positive.
      OSError: the file cannot be written.
    """
    check_ranges(config)
    table = Table("layer", "XLA, ms", "ours, ms", "XLA / ours", title="value and gradients of a batch, in a scan")
    rows = []
    for layer in LAYERS:
        milliseconds = {name: 1000 * measure_seconds(f, layer, config) for name, f in contenders(layer).items()}
        rows.append({**dataclasses.asdict(layer), **{name: round(ms, 2) for name, ms in milliseconds.items()}})
        convolution = f"{layer.kernel}x{layer.kernel} {layer.padding}, {layer.channels} to {layer.filters}"
        name = convolution if layer.filters else f"max-pooling of {layer.channels}, stride {layer.stride}"
        xla, ours = milliseconds["xla"], milliseconds["ours"]
        table.add_row(f"{layer.side}x{layer.side}, {name}", f"{xla:.1f}", f"{ours:.1f}", f"{xla / ours:.1f}")
    Console().print(table)
    if config.output is not None:
        write_json(config.output, {**environment(), "batch_size": config.batch_size, "layers": rows})


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    description = "Compares the speed of convolutions and pooling in a loop with XLA's own."
    args = sys.argv[1:] if args is None else args
    config = parse(ConvolutionSpeedConfig, "python -m experiments.benchmarks.convolution_speed", args, description)
    with computing("interrupted; nothing was written"):
        measure(config)


if __name__ == "__main__":
    main()
