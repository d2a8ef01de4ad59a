"""Combines two readers of opposite directions: ``python -m experiments.forward_backward RUN RUN [flags]``."""

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

from common.data import reverse_symbols
from common.training.evaluation import Predictions, Scores, error_interval, summarise
from dram.forward_backward import combine, lengths
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.cli.console import say
from experiments.cost import cost_of, symbols_of, total
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.evaluation.readers import (
    check_readers,
    operations,
    predictions,
    read_readers,
    report,
    scorer,
    validate_evaluation,
)
from experiments.families.dram import GLIMPSE_NETWORK
from experiments.training.config import load_blank, shared_loader
from experiments.training.restore import RestoredRun


@dataclass(frozen=True)
class ForwardBackward:
    """Measures two runs that read the same images in opposite directions, alone and combined (Ba et al. 2014)."""

    runs: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """Folders of the two runs, in either order: one of a preset, one of its backward preset or with --reverse."""
    episodes: int | None = None
    """Sampled episodes of each to average over; as many as in the forward run's evaluation when it is not given."""
    batch_size: int | None = None
    """Images in one compiled call, as in the runs when it is not given; another number draws other episodes."""
    output: Path | None = None
    """Where the results go as JSON; forward_backward.json in the folder of the first run when it is not given."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(ForwardBackward, "python -m experiments.forward_backward", args)
    with interruptible("interrupted; the runs are as they were"), user_errors():
        forward_backward(config)


def forward_backward(config: ForwardBackward) -> dict[str, Any]:
    """Measures, prints and writes; returns what was written.

    Raises:
      ValueError: a folder holds no run that reads sequences, or the two do not belong together.
      OSError: the results cannot be written.
    """
    validate_evaluation(config.episodes, config.batch_size, config.output)
    check_pair(config.runs)
    forward, backward = pair(*read_readers(config.runs, shared_loader()))
    dataset, end = forward.dataset, forward.dataset.end_symbol
    episodes = config.episodes or forward.experiment.training.eval_episodes
    scorers = [scorer(run, run.built.model, episodes, config.batch_size) for run in (forward, backward)]
    errors, agreement = {}, {}
    for name in SPLIT_SEEDS:
        say(f"reading the {name} images in both directions")
        split = getattr(dataset, name)
        rightwards, leftwards = (score(split.images, name) for score in scorers)
        together = combine_all(rightwards, leftwards)
        errors[name] = {
            "forward": summarise(predictions(rightwards), split.labels, end),
            "backward": summarise(predictions(leftwards), getattr(backward.dataset, name).labels, end),
            "forward-backward": summarise(together, split.labels, end),
        }
        agreement[name] = by_agreement(rightwards, leftwards, together, split.labels)
    symbols = symbols_of(errors["test"]["forward"]["greedy"])
    costs = [cost_of(str(run.run_dir), run.family, run.experiment, run.dataset, symbols) for run in (forward, backward)]
    facts = {
        "task": dataset.name,
        "forward": str(forward.run_dir),
        "backward": str(backward.run_dir),
        **parameter_counts(forward.params(), backward.params()),
        **operations([cost.flops for cost in costs], episodes),
        "operations_to_end": total([cost.to_end for cost in costs]),
        "lengths": agreement,
    }
    return report(facts, errors, episodes, config.output or config.runs[0] / "forward_backward.json")


def check_pair(run_dirs: tuple[Path, Path]) -> None:
    """Checks two runs before images are loaded.

    Raises:
      ValueError: one reads no sequences, or both read in the same direction, or images of other shapes.
    """
    one, other = (experiment.data for experiment in check_readers(run_dirs))
    names = f"runs {str(run_dirs[0])!r} and {str(run_dirs[1])!r}"
    if one.reverse == other.reverse:
        direction = "right to left" if one.reverse else "left to right"
        raise ValueError(f"{names} both read from {direction}: give one of each direction (--reverse)")
    shapes = ["x".join(map(str, load_blank(data).image_shape)) for data in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{names} do not belong together: their images are {shapes[0]} and {shapes[1]}")


def pair(one: RestoredRun, other: RestoredRun) -> tuple[RestoredRun, RestoredRun]:
    """Of two runs of opposite directions the one that reads forwards, then the one that reads backwards.

    Raises:
      ValueError: they read other images.
    """
    names = f"runs {str(one.run_dir)!r} and {str(other.run_dir)!r}"
    forward, backward = (other, one) if one.experiment.data.reverse else (one, other)
    end = forward.dataset.num_classes - 1
    for name in SPLIT_SEEDS:
        left, right = getattr(forward.dataset, name), getattr(backward.dataset, name)
        same = left.images is right.images or np.array_equal(left.images, right.images)
        if not same or not np.array_equal(reverse_symbols(left.labels, end), right.labels):
            raise ValueError(f"{names} do not belong together: their {name} images or labels differ")
    return forward, backward


def combine_all(forward: Scores, backward: Scores) -> Predictions:
    """The predictions of both readers together, by each method."""
    return Predictions(*(combine(*map(jnp.asarray, each)) for each in zip(forward, backward, strict=True)))


def by_agreement(forward: Scores, backward: Scores, together: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """Errors of the mean log-probability where both predict the same length, and where they do not.

    Args:
      forward: log-probabilities `[N, S, C]`.
      backward: likewise.
      together: their predictions `[N, S]`.
      labels: `[N, S]`.
    """
    one, other = (lengths(jnp.asarray(scores.average_log_probability)) for scores in (forward, backward))
    same = np.asarray(one == other)
    groups = (("same", same), ("different", ~same))
    found = np.asarray(together.average_log_probability)
    return {name: error_interval(found[group], labels[group]) for name, group in groups if group.any()}


def parameter_counts(forward: dict[str, Any], backward: dict[str, Any]) -> dict[str, Any]:
    """The number of parameters of both, a glimpse network that they share counted once, and whether they share it."""
    parts = [forward[GLIMPSE_NETWORK], backward[GLIMPSE_NETWORK]]
    same_shapes = jax.tree.map(jnp.shape, parts[0]) == jax.tree.map(jnp.shape, parts[1])
    shared = same_shapes and all(jax.tree.leaves(jax.tree.map(np.array_equal, *parts)))
    total = optax.tree.size(forward) + optax.tree.size(backward)
    return {"parameters": total - shared * optax.tree.size(parts[0]), "glimpse_network_shared": shared}


if __name__ == "__main__":
    main()
