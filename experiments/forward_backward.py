"""Combine two runs that read in opposite directions: ``python -m experiments.forward_backward RUN RUN [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from common.checks import Range, check_output, check_ranges
from common.data import reverse_symbols
from common.training.evaluation import Predictions, Scores, error_interval, summarise
from dram.forward_backward import combine, lengths
from experiments.cli.command_line import computing, parse
from experiments.cli.console import print_line
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.families.dram import GLIMPSE_PARAMETERS
from experiments.runs.cost import cost_of, symbols_of
from experiments.runs.restore import RestoredRun
from experiments.runs.sequence_runs import (
    check_sequence_runs,
    operations_by_readout,
    predictions,
    read_sequence_runs,
    report,
    scorer,
)
from experiments.training.config import cached_loader, load_blank


@dataclass(frozen=True)
class ForwardBackward:
    """Measure two runs that read the same images in opposite directions, alone and combined (Ba et al. 2014).

    Prints errors of whole sequences in per cent by read-out: greedy, one episode, and means over several episodes.
    """

    runs: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """Folders of the two runs, in either order: one of a preset, one of its backward preset or with --reverse."""
    episodes: Annotated[int | None, Range(1)] = None
    """Sampled episodes of the mean read-outs, for each run; by default those of the forward run's configuration."""
    batch_size: Annotated[int | None, Range(1)] = None
    """Images in one compiled call; by default those of the runs' configurations. Another number draws other
    episodes."""
    output: Path | None = None
    """JSON file for the results; by default forward_backward.json in the folder of the first run."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(ForwardBackward, "python -m experiments.forward_backward", args)
    with computing("interrupted; the runs are unchanged"):
        forward_backward(config)


def forward_backward(config: ForwardBackward) -> dict[str, Any]:
    """Measure two runs and their combination, print the errors, write the results and return them.

    Raises:
      ValueError: a folder holds no run that reads sequences, or the two runs do not read the same images in opposite
        directions.
      OSError: the results cannot be written.
    """
    check_ranges(config)
    check_output("output", config.output)
    check_pair(config.runs)
    forward, backward = order_pair(*read_sequence_runs(config.runs, cached_loader()))
    dataset, end = forward.dataset, forward.dataset.end_symbol
    episodes = config.episodes or forward.experiment.training.eval_episodes
    scorers = [scorer(run, run.built.model, episodes, config.batch_size) for run in (forward, backward)]
    errors, agreement = {}, {}
    for name in SPLIT_SEEDS:
        print_line(f"reading the {name} images in both directions")
        split = getattr(dataset, name)
        forward_scores, backward_scores = (score(split.images, name) for score in scorers)
        combined = combine_all(forward_scores, backward_scores)
        errors[name] = {
            "forward": summarise(predictions(forward_scores), split.labels, end),
            "backward": summarise(predictions(backward_scores), getattr(backward.dataset, name).labels, end),
            "forward-backward": summarise(combined, split.labels, end),
        }
        agreement[name] = by_agreement(forward_scores, backward_scores, combined, split.labels)
    symbols = symbols_of(errors["test"]["forward"]["greedy"])
    costs = [cost_of(str(run.run_dir), run.family, run.experiment, run.dataset, symbols) for run in (forward, backward)]
    ends = [cost.to_end for cost in costs if cost.to_end is not None]
    assert len(ends) == len(costs), "both runs read sequences"
    facts = {
        "task": dataset.name,
        "forward": str(forward.run_dir),
        "backward": str(backward.run_dir),
        **parameter_counts(forward.params(), backward.params()),
        **operations_by_readout([cost.flops for cost in costs], episodes),
        "operations_to_end": sum(ends),
        "lengths": agreement,
    }
    return report(facts, errors, episodes, config.output or config.runs[0] / "forward_backward.json")


def check_pair(run_dirs: tuple[Path, Path]) -> None:
    """Check two runs before images are loaded.

    Raises:
      ValueError: one reads no sequences, both read in the same direction, or their images differ in shape.
    """
    first, second = (experiment.data for experiment in check_sequence_runs(run_dirs))
    names = f"runs {str(run_dirs[0])!r} and {str(run_dirs[1])!r}"
    if first.reverse == second.reverse:
        direction = "right to left" if first.reverse else "left to right"
        raise ValueError(f"{names} both read from {direction}: give one of each direction (--reverse)")
    shapes = ["x".join(map(str, load_blank(data).image_shape)) for data in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{names} do not read the same images: theirs are {shapes[0]} and {shapes[1]}")


def order_pair(first: RestoredRun, second: RestoredRun) -> tuple[RestoredRun, RestoredRun]:
    """Order two runs as (left-to-right, right-to-left).

    Raises:
      ValueError: their images or labels differ.
    """
    names = f"runs {str(first.run_dir)!r} and {str(second.run_dir)!r}"
    forward, backward = (second, first) if first.experiment.data.reverse else (first, second)
    end = forward.dataset.num_classes - 1
    for name in SPLIT_SEEDS:
        left, right = getattr(forward.dataset, name), getattr(backward.dataset, name)
        same = left.images is right.images or np.array_equal(left.images, right.images)
        if not same or not np.array_equal(reverse_symbols(left.labels, end), right.labels):
            raise ValueError(f"{names} do not read the same images: their {name} images or labels differ")
    return forward, backward


def combine_all(forward: Scores, backward: Scores) -> Predictions:
    """Return the combined predictions of both runs by each read-out."""
    return Predictions(*(combine(*map(jnp.asarray, each)) for each in zip(forward, backward, strict=True)))


def by_agreement(forward: Scores, backward: Scores, combined: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """Return errors of the mean log-probability for images where both runs predict the same length, and for others.

    Args:
      forward: log-probabilities `[N, S, C]`.
      backward: log-probabilities `[N, S, C]`.
      combined: the combined predictions `[N, S]`.
      labels: `[N, S]`.
    """
    forward_lengths, backward_lengths = (
        lengths(jnp.asarray(scores.average_log_probability)) for scores in (forward, backward)
    )
    same = np.asarray(forward_lengths == backward_lengths)
    groups = (("same", same), ("different", ~same))
    predicted = np.asarray(combined.average_log_probability)
    return {name: error_interval(predicted[group], labels[group]) for name, group in groups if group.any()}


def parameter_counts(forward: dict[str, Any], backward: dict[str, Any]) -> dict[str, Any]:
    """Count the parameters of both runs. A glimpse network that is the same in both counts once."""
    parts = [forward[GLIMPSE_PARAMETERS], backward[GLIMPSE_PARAMETERS]]
    same_shapes = jax.tree.map(jnp.shape, parts[0]) == jax.tree.map(jnp.shape, parts[1])
    shared = same_shapes and all(jax.tree.leaves(jax.tree.map(np.array_equal, *parts)))
    total = optax.tree.size(forward) + optax.tree.size(backward)
    return {"parameters": total - shared * optax.tree.size(parts[0]), "glimpse_network_shared": shared}


if __name__ == "__main__":
    main()
