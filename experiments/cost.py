"""Count parameters and operations: ``python -m experiments.cost [RUN_DIR ..] [--preset FAMILY/PRESET ..]``.

The operations are those of one greedy prediction for one image, as in the table of Ba et al. 2014 (section 4.3). XLA's
cost analysis counts them in the program that JAX gives to the compiler of a GPU, on every machine (`program_flops`). A
multiply-add counts as two operations, a product with a zero of the padding as none. Episodes are unrolled in the
program, so every glimpse counts. A run that reads sequences has a second count: that of an episode which stops with its
end symbol. Nothing is computed, and only images of your own are loaded, for their shapes.
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

from common.checks import Range, check_ranges
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
    """Print the number of parameters and of floating-point operations of a forward pass on one image."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs."""
    preset: tuple[str, ...] = ()
    """Presets, each with its family, such as cnn/house_numbers or ram/mnist28."""
    size: Annotated[tuple[int, ...], Range(1)] = ()
    """Sides of square images in pixels, instead of the sizes of the tasks' images."""
    episodes: Annotated[int, Range(1)] = 10
    """Episodes of the mean read-outs, for a column with their operations."""


# With the networks of the paper an episode of 18 glimpses has 0.19 billion multiply-adds; the paper prints at most 0.2.
NOTE = "A multiply-add is two operations here, and seems to be one in the table of Ba et al. 2014."


class Cost(NamedTuple):
    """The cost of a model.

    Attributes:
      name: the run or the preset, with its family.
      image: rows, columns and channels.
      glimpses: the most of an episode; None for a network that sees the whole image.
      parameters: their number.
      flops: operations on one image; None if XLA does not report them.
      to_end: mean operations of episodes that stop with the end symbol; None if the lengths of sequences are unknown.
    """

    name: str
    image: tuple[int, int, int]
    glimpses: int | None
    parameters: int
    flops: float | None
    to_end: float | None = None


def forward_cost(model: Model, image_shape: tuple[int, int, int]) -> tuple[int, float | None]:
    """Return the number of parameters of a model and of operations of its greedy prediction for an image [H, W, C]."""
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    predict = jax.jit(lambda params, image: model.predict(params, key, image, "greedy"))
    # On a CPU small convolutions are matrix products, which multiply the padding too (`common.networks.convolutions`).
    flops = program_flops(predict, params, image, platform="cuda")
    return optax.tree.size(params), flops


def cost_of(name: str, family: Family, experiment: Experiment, dataset: Dataset, symbols: float | None = None) -> Cost:
    """Return the cost of an experiment's model on images with the shape of a data set's.

    Args:
      name: the run or the preset.
      family: the family of the experiment.
      experiment: the configuration.
      dataset: the images.
      symbols: mean number of symbols of a sequence, with the end symbol; None if unknown.

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
    """Return the mean operations on one image of episodes that stop with the end symbol.

    Each symbol after the first costs the same, so the count follows from the shortest and the longest episode.

    Args:
      family: the family of the experiment.
      experiment: the configuration of an agent that reads sequences.
      dataset: images with the shape of those that it reads.
      symbols: mean number of symbols of a sequence, with the end symbol.
      longest: operations of an episode with the most symbols.

    Returns:
      The count; None if XLA does not report it.
    """
    assert dataset.num_targets is not None
    split = dataset.validation
    shortest = dataclasses.replace(dataset, validation=Source(split.images, split.labels[:, :1]))
    first = forward_cost(family.build(experiment, shortest).model, dataset.image_shape)[1]
    return None if first is None else first + (symbols - 1) * (longest - first) / max(dataset.num_targets - 1, 1)


def total(numbers: Sequence[float | None]) -> float | None:
    """Return the sum; None if one of the numbers is None."""
    return None if None in numbers else sum(number for number in numbers if number is not None)


def symbols_of(greedy: Mapping[str, Any]) -> float | None:
    """Return the mean number of symbols of an image's sequence, with the end symbol; None if labels are classes.

    Args:
      greedy: the greedy errors, of `common.training.evaluation.summarise`.
    """
    return 1 + greedy["symbol"]["n"] / greedy["n"] if "symbol" in greedy else None


def mean_symbols(run_dir: Path) -> float | None:
    """Return `symbols_of` the test images of a run; None if it has no results."""
    if not (run_dir / "results.json").is_file():
        return None
    return symbols_of(read_json(run_dir / "results.json").get("test", {}).get("greedy", {}))


def shapes_of(config: DataConfig, size: int | None = None) -> Dataset:
    """Return a blank data set with the shapes of the configured one, or of another image size.

    Args:
      config: the configuration of the images.
      size: rows and columns in pixels; None for the size of the task's images.

    Raises:
      ValueError: see `load_blank`.
    """
    dataset = load_blank(config)
    if size is None:
        return dataset
    images = np.zeros((1, size, size, dataset.channels), np.uint8)
    blank = Source(images, np.asarray(dataset.validation.labels[:1]))
    return dataclasses.replace(dataset, validation=blank, test=blank)


def experiments_of(config: CostConfig) -> list[tuple[str, Family, Experiment, float | None]]:
    """Return name, family, configuration and `mean_symbols` of each run and preset of a command line.

    Raises:
      ValueError: there is none, or one of them is unknown.
    """
    experiments: list[tuple[str, Family, Experiment, float | None]] = [
        (run_dir.resolve().name, *read_experiment(run_dir), mean_symbols(run_dir)) for run_dir in config.run_dirs
    ]
    for preset in config.preset:
        family_name, slash, name = preset.partition("/")
        if not slash:
            raise ValueError(f"preset {preset!r}: must be FAMILY/PRESET, such as cnn/house_numbers")
        family = find_family(family_name)
        experiments.append((preset, family, find_preset(family, name), None))
    if not experiments:
        raise ValueError("no model to count: give folders of runs, or --preset FAMILY/PRESET")
    return experiments


def cost_table(costs: Sequence[Cost], episodes: int) -> Table:
    """Return a Markdown table with a row for each model: millions of parameters, billions of operations."""
    header = ("model", "images", "glimpses", "parameters (M)", "operations (G)", "to the end symbol (G)")
    table = Table(*header, f"mean of {episodes} episodes (G)", box=rich.box.MARKDOWN)
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
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(CostConfig, "python -m experiments.cost", args)
    with user_errors():
        check_ranges(config)
        costs = [
            cost_of(name, family, experiment, shapes_of(experiment.data, size), symbols)
            for name, family, experiment, symbols in experiments_of(config)
            for size in config.size or (None,)
        ]
    Console(width=None if sys.stdout.isatty() else 200).print(cost_table(costs, config.episodes), NOTE)


if __name__ == "__main__":
    main()
