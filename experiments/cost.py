"""What one forward pass costs: ``python -m experiments.cost [RUN_DIR ..] [--preset FAMILY/PRESET ..]``.

Parameters and floating-point operations of reading one image, as in the table of Ba et al. 2014 (section 4.3). The
operations are those of the program that JAX gives to the compiler of a GPU, whatever the machine at hand, by XLA's cost
analysis (`program_flops`): a multiply-add counts as two, a product with a zero of the padding not at all. Agents follow
the mean locations, and their episodes are unrolled in the program, so that every glimpse counts; of a run that reads
sequences the table also has what is left where an episode stops with its end symbol. No image is loaded, but for your
own, and nothing is computed.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.box
import tyro
from rich.console import Console
from rich.table import Table

from common.data import Dataset, Source
from common.training.step import Model
from experiments.benchmarks.arithmetic import program_flops
from experiments.cli.command_line import parse, user_errors
from experiments.families import Family, find_family, find_preset
from experiments.training.config import DataConfig, Experiment, load_blank
from experiments.training.restore import read_experiment
from experiments.training.run_directory import read_json


@dataclass(frozen=True)
class CostConfig:
    """Prints parameters and floating-point operations of one forward pass, on one image."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs."""
    preset: tuple[str, ...] = ()
    """Presets, each with its family, such as cnn/house_numbers or ram/mnist28."""
    size: tuple[int, ...] = ()
    """Sides of square images, in pixels, instead of those of the task."""
    episodes: int = 10
    """Episodes of an agent's average, whose operations are told too."""


# With their networks, an episode of 18 glimpses has 0.19 billion multiply-adds; they print at most 0.2.
NOTE = "A multiply-add is two operations here, and seems to be one in the table of Ba et al. 2014."


class Cost(NamedTuple):
    """What a model costs.

    Attributes:
      name: of the run or the preset, and of the model.
      image: rows, columns and channels.
      glimpses: of an episode at most; None of a network that sees the whole image.
      parameters: their number.
      flops: operations on one image; None where XLA does not tell.
      to_end: the same where episodes stop with the end symbol, on average; None where their lengths are not known.
    """

    name: str
    image: tuple[int, int, int]
    glimpses: int | None
    parameters: int
    flops: float | None
    to_end: float | None = None


def forward_cost(model: Model, image_shape: tuple[int, int, int]) -> tuple[int, float | None]:
    """Parameters of a model, and floating-point operations of its greedy prediction for one image (H, W, C)."""
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    predict = jax.jit(lambda params, image: model.predict(params, key, image, "greedy"))
    # On a CPU small convolutions are matrix products, which multiply the padding too (`common.networks.convolutions`).
    flops = program_flops(predict, params, image, platform="cuda")
    return optax.tree.size(params), flops


def cost_of(name: str, family: Family, experiment: Experiment, dataset: Dataset, symbols: float | None = None) -> Cost:
    """What the model of an experiment costs on images like those of a data set.

    Args:
      name: of the run or the preset.
      family: of the model.
      experiment: what is counted.
      dataset: the images.
      symbols: mean number of symbols of a sequence, the end symbol among them, where it is known.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    built = family.build(experiment, dataset)
    agent = built.agent
    parameters, flops = forward_cost(built.model, dataset.image_shape)
    to_end = None
    if flops is not None and symbols is not None and agent is not None and agent.sequence is not None:
        to_end = flops_to_end(family, experiment, dataset, symbols, flops)
    glimpses = None if agent is None else agent.num_glimpses
    return Cost(f"{name} ({family.name})", dataset.image_shape, glimpses, parameters, flops, to_end)


def flops_to_end(
    family: Family, experiment: Experiment, dataset: Dataset, symbols: float, longest: float
) -> float | None:
    """Operations on one image where an episode stops with its end symbol; each symbol after the first costs the same.

    Args:
      family: of the agent.
      experiment: of an agent that reads sequences.
      dataset: images like those that it reads.
      symbols: mean number of symbols of a sequence, the end symbol among them.
      longest: operations on an image with as many symbols as there can be.

    Returns:
      Their number on average; None where XLA does not tell.
    """
    assert dataset.num_targets is not None
    split = dataset.validation
    shortest = dataclasses.replace(dataset, validation=Source(split.images, split.labels[:, :1]))
    first = forward_cost(family.build(experiment, shortest).model, dataset.image_shape)[1]
    return None if first is None else first + (symbols - 1) * (longest - first) / max(dataset.num_targets - 1, 1)


def total(each: Sequence[float | None]) -> float | None:
    """The sum; None where one of them is not known."""
    return None if None in each else sum(number for number in each if number is not None)


def symbols_of(greedy: Mapping[str, Any]) -> float | None:
    """Mean number of symbols of the images that were read, the end symbol among them; None of classes.

    Args:
      greedy: the errors of greedy episodes, of `common.training.evaluation.summarise`.
    """
    return 1 + greedy["symbol"]["n"] / greedy["n"] if "symbol" in greedy else None


def mean_symbols(run_dir: Path) -> float | None:
    """`symbols_of` a run's test images; None if it has not measured them."""
    if not (run_dir / "results.json").is_file():
        return None
    return symbols_of(read_json(run_dir / "results.json").get("test", {}).get("greedy", {}))


def shapes_of(config: DataConfig, size: int | None = None) -> Dataset:
    """`load_blank`, perhaps of another size.

    Args:
      config: of the images.
      size: their rows and columns, in pixels, instead of those of the task.

    Raises:
      ValueError: see `load_blank`; or the size is not positive.
    """
    if size is not None and size < 1:
        raise ValueError(f"size {size}: must be at least 1 pixel")
    dataset = load_blank(config)
    if size is None:
        return dataset
    images = np.zeros((1, size, size, dataset.channels), np.uint8)
    blank = Source(images, np.asarray(dataset.validation.labels[:1]))
    return dataclasses.replace(dataset, validation=blank, test=blank)


def experiments_of(config: CostConfig) -> list[tuple[str, Family, Experiment, float | None]]:
    """The experiments that are asked for, by the names of their runs and presets, with their `mean_symbols`.

    Raises:
      ValueError: there is none, or one of them is unknown.
    """
    found: list[tuple[str, Family, Experiment, float | None]] = [
        (run_dir.resolve().name, *read_experiment(run_dir), mean_symbols(run_dir)) for run_dir in config.run_dirs
    ]
    for preset in config.preset:
        family_name, slash, name = preset.partition("/")
        if not slash:
            raise ValueError(f"preset {preset!r}: must be FAMILY/PRESET, such as cnn/house_numbers")
        family = find_family(family_name)
        found.append((preset, family, find_preset(family, name), None))
    if not found:
        raise ValueError("nothing to count: give folders of runs, or --preset FAMILY/PRESET")
    return found


def cost_table(costs: Sequence[Cost], episodes: int) -> Table:
    """A row for each model, in Markdown: millions of parameters, billions of operations."""
    heads = ("model", "images", "glimpses", "parameters (M)", "operations (G)", "to the end symbol (G)")
    table = Table(*heads, f"mean of {episodes} episodes (G)", box=rich.box.MARKDOWN)
    for cost in costs:
        flops = [cost.flops, cost.to_end, cost.flops and cost.glimpses and episodes * cost.flops]
        table.add_row(
            cost.name,
            "x".join(map(str, cost.image)),
            "" if cost.glimpses is None else str(cost.glimpses),
            f"{cost.parameters / 1e6:.3f}",
            *("" if number is None else f"{number / 1e9:.4f}" for number in flops),
        )
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(CostConfig, "python -m experiments.cost", args)
    with user_errors():
        if config.episodes < 1:
            raise ValueError(f"episodes {config.episodes}: must be at least 1")
        costs = [
            cost_of(name, family, experiment, shapes_of(experiment.data, size), symbols)
            for name, family, experiment, symbols in experiments_of(config)
            for size in config.size or (None,)
        ]
    Console(width=None if sys.stdout.isatty() else 200).print(cost_table(costs, config.episodes), NOTE)


if __name__ == "__main__":
    main()
