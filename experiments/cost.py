"""Count parameters and operations: ``python -m experiments.cost [RUN_DIR ..] [--preset FAMILY/PRESET ..]``.

The operations are those of one greedy prediction for one image, as in the table of Ba et al. 2014 (section 4.3). The
values read are the numbers that the networks read of the image. See `experiments.runs.cost`. A run that reads
sequences has a second count of operations: that of an episode which stops with its end symbol. Nothing is computed, and
only images of your own are loaded, for their shapes.
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import rich.box
import tyro
from rich.console import Console
from rich.table import Table

from common.checks import Range, check_ranges
from common.data import Dataset, Source
from experiments.cli.command_line import computing, parse
from experiments.families import Family, find_family, find_preset
from experiments.runs.cost import Cost, cost_of, symbols_of
from experiments.runs.restore import read_experiment
from experiments.training.config import DataConfig, Experiment, load_blank
from experiments.training.run_directory import read_results


@dataclass(frozen=True)
class CostConfig:
    """Print the number of parameters, of values read and of operations of a forward pass on one image."""

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


def mean_symbols(run_dir: Path) -> float | None:
    """Return `symbols_of` the test images of a run; None if it has no results."""
    results = read_results(run_dir)
    return None if results is None else symbols_of(results["test"]["greedy"])


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
    experiments: list[tuple[str, Family, Experiment, float | None]] = []
    for run_dir in config.run_dirs:
        family, experiment = read_experiment(run_dir)
        experiments.append((run_dir.resolve().name, family, experiment, mean_symbols(run_dir)))
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
    """Return a Markdown table with a row for each model: values, millions of parameters, billions of operations."""
    header = ("model", "images", "glimpses", "values read", "parameters (M)", "operations (G)", "to the end symbol (G)")
    table = Table(*header, f"mean of {episodes} episodes (G)", box=rich.box.MARKDOWN)
    for cost in costs:
        flops = [cost.flops, cost.to_end, cost.glimpses and episodes * cost.flops]
        table.add_row(
            cost.name,
            "x".join(map(str, cost.image)),
            "" if cost.glimpses is None else str(cost.glimpses),
            f"{cost.values:,}",
            f"{cost.parameters / 1e6:.3f}",
            *("" if number is None else f"{number / 1e9:.4f}" for number in flops),
        )
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(CostConfig, "python -m experiments.cost", args)
    with computing("interrupted"):
        check_ranges(config)
        costs = [
            cost_of(name, family, experiment, shapes_of(experiment.data, size), symbols)
            for name, family, experiment, symbols in experiments_of(config)
            for size in config.size or (None,)
        ]
    Console(width=None if sys.stdout.isatty() else 200).print(cost_table(costs, config.episodes), NOTE)


if __name__ == "__main__":
    main()
