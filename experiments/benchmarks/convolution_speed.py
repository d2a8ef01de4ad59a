"""Times convolutions in a loop against XLA's own: ``python -m experiments.benchmarks.convolution_speed``."""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from common.checks import require_at_least
from common.networks.convolutions import Padding, convolve, max_pool
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.training.provenance import environment
from experiments.training.run_directory import write_json


@dataclass(frozen=True)
class ConvolutionSpeedConfig:
    """Gradients of layers in a scan of a few steps: of the 11-layer CNN at half its width on 32x32 images, and of the
    CNN for distorted MNIST, whose convolutions have no padding."""

    batch_size: int = 32
    """Images in a batch."""
    steps: int = 2
    """Steps of the scan."""
    rounds: int = 2
    """Times that both are measured in turn; the fastest counts."""
    output: Path | None = None
    """JSON file for what was measured; none is written if it is not given."""


@dataclass(frozen=True)
class Layer:
    """Feature maps of ``side x side`` pixels and what is done to them.

    Attributes:
      side: rows, and columns.
      channels: of the maps.
      filters: of a convolution; 0 for 2x2 max-pooling.
      kernel: side of the kernels.
      padding: that of the convolution.
      stride: that of the pooling.
    """

    side: int
    channels: int
    filters: int = 0
    kernel: int = 5
    padding: Padding = "SAME"
    stride: int = 1


LAYERS = (
    *(Layer(32, 1, 24), Layer(16, 24, 32), Layer(8, 80, 96), Layer(4, 96, 96), Layer(16, 32)),
    *(Layer(28, 1, 88, 9, "VALID"), Layer(10, 88, 88, 7, "VALID"), Layer(20, 88, stride=2)),
)


def plain(images: Array, kernel: Array, padding: Padding) -> Array:
    """What XLA makes of a convolution and its gradients."""
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def contenders(layer: Layer) -> dict[str, Callable[[Array, Array], Array]]:
    """The functions that are measured: ``(images, kernel) -> maps``."""
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


def seconds_of(function: Callable[[Array, Array], Array], layer: Layer, config: ConvolutionSpeedConfig) -> float:
    """Seconds that a step of a scan takes for value and gradients; the fastest of the rounds."""
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (config.batch_size, layer.side, layer.side, layer.channels))
    kernel = jax.random.normal(keys[1], (layer.kernel, layer.kernel, layer.channels, max(layer.filters, 1)))
    gradients = jax.grad(lambda *x: jnp.square(function(*x)).sum(), (0, 1))

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        moved = gradients(*carry)
        return (carry[0] - 1e-6 * moved[0], carry[1] - 1e-6 * moved[1]), None

    run = jax.jit(lambda *x: jax.lax.scan(step, x, None, length=config.steps)[0])
    jax.block_until_ready(run(images, kernel))
    times = []
    for _ in range(config.rounds):
        begun = time.perf_counter()
        jax.block_until_ready(run(images, kernel))
        times.append((time.perf_counter() - begun) / config.steps)
    return min(times)


def measure(config: ConvolutionSpeedConfig) -> None:
    """Measures, prints and writes.

    Raises:
      ValueError: a number that is not positive.
      OSError: the file cannot be written.
    """
    require_at_least(config, 1, "batch_size", "steps", "rounds")
    table = Table("layer", "XLA, ms", "ours, ms", "XLA / ours", title="value and gradients of a batch, in a scan")
    rows = []
    for layer in LAYERS:
        found = {name: 1000 * seconds_of(f, layer, config) for name, f in contenders(layer).items()}
        rows.append({**dataclasses.asdict(layer), **{name: round(ms, 2) for name, ms in found.items()}})
        convolved = f"{layer.kernel}x{layer.kernel} {layer.padding}, {layer.channels} to {layer.filters}"
        what = convolved if layer.filters else f"max-pooling of {layer.channels}, stride {layer.stride}"
        ratio = found["xla"] / found["ours"]
        table.add_row(
            f"{layer.side}x{layer.side}, {what}", f"{found['xla']:.1f}", f"{found['ours']:.1f}", f"{ratio:.1f}"
        )
    Console().print(table)
    if config.output is not None:
        write_json(config.output, {**environment(), "batch_size": config.batch_size, "layers": rows})


def main(args: list[str] | None = None) -> None:
    """Runs the command line."""
    description = "Times convolutions and pooling in a loop against XLA's own."
    args = sys.argv[1:] if args is None else args
    config = parse(ConvolutionSpeedConfig, "python -m experiments.benchmarks.convolution_speed", args, description)
    with interruptible("interrupted; nothing was written"), user_errors():
        measure(config)


if __name__ == "__main__":
    main()
