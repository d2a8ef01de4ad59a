"""Trained runs that read sequences, as `experiments.forward_backward` and `experiments.focus` measure them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from common.data import Dataset
from common.training.evaluation import Predictions, Scores, make_scorer, predicted
from common.training.step import Model
from experiments.cli.tables import readers_table
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.output.json_files import write_json
from experiments.runs.restore import RestoredRun, read_experiment, read_run
from experiments.training.config import DataConfig, Experiment, load_blank, load_evaluation_images
from experiments.training.provenance import environment


def read_sequence_runs(
    run_dirs: Sequence[Path], load: Callable[[DataConfig], Dataset] = load_evaluation_images
) -> list[RestoredRun]:
    """Read back runs of agents that read sequences. All are checked before the images of any are loaded.

    Raises:
      ValueError: a folder holds no such run.
    """
    check_sequence_runs(run_dirs)
    return [read_run(run_dir, load) for run_dir in run_dirs]


def check_sequence_runs(run_dirs: Sequence[Path]) -> list[Experiment]:
    """Return the configurations of runs of agents that read sequences, without loading images or parameters.

    Raises:
      ValueError: a folder holds no such run.
    """
    experiments = []
    for run_dir in run_dirs:
        family, experiment = read_experiment(run_dir)
        attention = family.build(experiment, load_blank(experiment.data)).attention
        if attention is None:
            raise ValueError(f"run {str(run_dir)!r} is of {family.name}, which has no glimpses: give a run of dram")
        if attention.sequence is None:
            task = experiment.data.task
            raise ValueError(f"run {str(run_dir)!r} reads no sequences: task {task!r} has one class for each image")
        experiments.append(experiment)
    return experiments


def scorer(run: RestoredRun, model: Model, episodes: int, batch_size: int | None) -> Callable[[Any, str], Scores]:
    """Return ``(images [N, H, W, C], split) -> Scores`` of a run's parameters.

    Args:
      run: the run.
      model: the run's own, or one with the same parameters for images of another size.
      episodes: sampled episodes to average over.
      batch_size: images in one compiled call; as in the run if None.
    """
    score = make_scorer(model.predict, episodes, batch_size or run.experiment.training.eval_batch_size)
    params = run.params()
    return lambda images, split: score(params, jax.random.key(SPLIT_SEEDS[split]), images)


def operations_by_readout(passes: Sequence[int], episodes: int, before: int = 0) -> dict[str, int]:
    """Return the operations on one image: greedy, and for the means over sampled episodes.

    Args:
      passes: operations of an episode of each pass.
      episodes: sampled episodes of each pass.
      before: operations that are done once, whatever the number of episodes.
    """
    return {"operations": before + sum(passes), "operations_of_means": before + episodes * sum(passes)}


def predictions(scores: Scores) -> Predictions:
    """Return the predictions by each read-out."""
    return Predictions(*(predicted(jnp.asarray(each)) for each in scores))


def report(
    facts: dict[str, Any], errors: dict[str, dict[str, dict[str, Any]]], episodes: int, output: Path
) -> dict[str, Any]:
    """Write results as JSON, print the table of their errors, and return them.

    Args:
      facts: names of the runs, their operations and the like.
      errors: ``{split: {reader: summary}}``, of `common.training.evaluation.summarise`.
      episodes: sampled episodes of the means.
      output: the file to write.

    Raises:
      OSError: the file cannot be written.
    """
    results = facts | {"episodes": episodes} | environment() | errors
    write_json(output, results)
    Console().print(readers_table(errors, episodes))
    print(f"results: {output}")
    return results
