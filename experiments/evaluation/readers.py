"""What the commands share that make more of trained readers of sequences: which runs are those, and their results."""

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
from experiments.cost import total
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.training import run_directory
from experiments.training.config import DataConfig, Experiment, load_blank, load_fixed
from experiments.training.provenance import environment
from experiments.training.restore import RestoredRun, read_experiment, read_run


def read_readers(run_dirs: Sequence[Path], load: Callable[[DataConfig], Dataset] = load_fixed) -> list[RestoredRun]:
    """Reads back runs of agents that read sequences; all are checked before the images of any are loaded.

    Raises:
      ValueError: one of them is no such run.
    """
    check_readers(run_dirs)
    return [read_run(run_dir, load) for run_dir in run_dirs]


def check_readers(run_dirs: Sequence[Path]) -> list[Experiment]:
    """Return the configurations of runs of agents that read sequences; load neither images nor parameters.

    Raises:
      ValueError: one of them is no such run.
    """
    experiments = []
    for run_dir in run_dirs:
        family, experiment = read_experiment(run_dir)
        agent = family.build(experiment, load_blank(experiment.data)).agent
        if agent is None:
            raise ValueError(f"run {str(run_dir)!r} is of {family.name}, which has no glimpses: give a run of dram")
        if agent.sequence is None:
            task = experiment.data.task
            raise ValueError(f"run {str(run_dir)!r} reads no sequences: task {task!r} has one class for each image")
        experiments.append(experiment)
    return experiments


def validate_evaluation(episodes: int | None, batch_size: int | None, output: Path | None) -> None:
    """Checks what is asked of an evaluation.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    for name, value in (("episodes", episodes), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} {value}: must be at least 1")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise ValueError(f"output {str(output)!r}: must be a file in a folder that exists")


def scorer(run: RestoredRun, model: Model, episodes: int, batch_size: int | None) -> Callable[[Any, str], Scores]:
    """``(images [N, H, W, C], split) -> Scores`` of a run's parameters, over the episodes of its final evaluation.

    Args:
      run: the run.
      model: its own, or one of the same parameters for images of another size.
      episodes: sampled episodes to average over.
      batch_size: images in one compiled call; as in the run if None.
    """
    score = make_scorer(model.predict, episodes, batch_size or run.experiment.training.eval_batch_size)
    params = run.params()
    return lambda images, split: score(params, jax.random.key(SPLIT_SEEDS[split]), images)


def operations(passes: Sequence[float | None], episodes: int, before: float | None = 0.0) -> dict[str, float | None]:
    """Floating-point operations on one image: of a greedy episode in each pass, and of all sampled episodes.

    Args:
      passes: operations of each pass; None where XLA does not tell.
      episodes: sampled episodes of each pass.
      before: operations of what is done once, whatever the episodes.
    """
    repeated = total(passes)
    return {
        "operations": total([before, repeated]),
        "operations_of_means": total([before, repeated and episodes * repeated]),
    }


def predictions(scores: Scores) -> Predictions:
    """What a reader predicts by each method."""
    return Predictions(*(predicted(jnp.asarray(each)) for each in scores))


def report(
    facts: dict[str, Any], errors: dict[str, dict[str, dict[str, Any]]], episodes: int, output: Path
) -> dict[str, Any]:
    """Writes the results as JSON and prints the table of their errors; returns what was written.

    Args:
      facts: of which runs they are.
      errors: ``{split: {reader: summary}}``, of `common.training.evaluation.summarise`.
      episodes: sampled episodes that means are of.
      output: where to write.

    Raises:
      OSError: it cannot be written.
    """
    results = facts | {"episodes": episodes} | environment() | errors
    run_directory.write_json(output, results)
    Console().print(readers_table(errors, episodes))
    print(f"results: {output}")
    return results
