"""Evaluates a run again: ``python -m experiments.evaluate RUN_DIR [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.cli.console import say
from experiments.cli.tables import print_errors
from experiments.evaluation.errors import evaluate as evaluate_errors
from experiments.evaluation.readers import validate_evaluation
from experiments.training.config import load_fixed
from experiments.training.programs import final_predictor
from experiments.training.provenance import environment
from experiments.training.restore import read_run
from experiments.training.run_directory import write_json


@dataclass(frozen=True)
class Evaluation:
    """Evaluates the best parameters of a run on its validation and test sets, and prints the errors in per cent."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int | None = None
    """Sampled episodes to average over; as many as the run's own evaluation when it is not given."""
    batch_size: int | None = None
    """Images in one compiled call, as in the run when it is not given; another number draws other episodes."""
    last: bool = False
    """Take the last parameters instead of those of the lowest validation error."""
    plots: bool = False
    """Also draw the plots and the report again."""
    output: Path | None = None
    """Where the errors go as JSON, in all detail; nothing is written when it is not given."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Evaluation, "python -m experiments.evaluate", args)
    with interruptible("interrupted; the run is as it was"), user_errors():
        evaluate(config)


def evaluate(config: Evaluation) -> None:
    """Restores, measures and prints.

    Raises:
      ValueError: there is nothing to evaluate, or a number is out of range.
      OSError: the plots or the errors cannot be written.
    """
    validate_evaluation(config.episodes, config.batch_size, config.output)
    if config.last and config.plots:
        raise ValueError("last with plots: the report is of the parameters of the run's results, so leave one out")
    run = read_run(config.run_dir, load_fixed)
    experiment, built, params = run.experiment, run.built, run.params(config.last)
    if config.episodes is not None and not built.model.stochastic:
        raise ValueError(f"episodes {config.episodes}: this run sees whole images and samples none, so leave it out")
    say(f"{built.summary}; after step {run.step(config.last)}")
    predict = final_predictor(experiment, built.model, config.episodes, config.batch_size)
    results = evaluate_errors(built.model, predict, params, run.dataset) | built.measure(params)
    episodes = config.episodes or experiment.training.eval_episodes
    print_errors(results, episodes)
    if config.output is not None:
        facts = {"run": str(config.run_dir), "after_step": run.step(config.last), "episodes": episodes}
        write_json(config.output, facts | environment() | results)
        print(f"results: {config.output}")
    if config.plots:
        from experiments.reports.run_page import write_report

        built.draw(params, config.run_dir)
        print(f"report: {write_report(config.run_dir)}")


if __name__ == "__main__":
    main()
