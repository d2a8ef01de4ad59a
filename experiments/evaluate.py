"""Evaluates a run again: ``python -m experiments.evaluate RUN_DIR [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from common.checkpoint import Checkpoints
from experiments.command_line import fail, run_tyro, user_errors
from experiments.config import from_json, load_dataset
from experiments.experiment import build, chosen_params, experiment_class
from experiments.report import write_report
from experiments.run_directory import read_json
from experiments.tables import errors_table
from experiments.train import console, evaluate, make_initial_state


@dataclass(frozen=True)
class Evaluation:
    """Evaluates the best parameters of a run on its validation and test sets, and prints the errors in per cent."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int = 10
    """Sampled episodes to average over."""
    batch_size: int = 500
    """Images in one compiled call."""
    last: bool = False
    """Take the last parameters instead of those of the lowest validation error."""
    plots: bool = False
    """Also draw the plots and the report again."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = run_tyro(lambda: tyro.cli(Evaluation, prog="evaluate", args=args))
    for name in ("episodes", "batch_size"):
        if getattr(config, name) < 1:
            fail(f"{name} {getattr(config, name)}: must be at least 1")
    if not (config.run_dir / "config.json").is_file():
        fail(f"run directory {str(config.run_dir)!r} holds no config.json: give the folder of a run")
    with user_errors():
        identity = read_json(config.run_dir / "config.json")
        try:
            experiment = from_json(experiment_class(identity["model"]), identity["config"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{str(config.run_dir / 'config.json')!r} is not of this version: {error}") from error
        dataset = load_dataset(experiment.data)
        built = build(experiment, dataset)
        state, _ = make_initial_state(experiment, built.model, dataset)
        if not (config.run_dir / "checkpoints").is_dir():
            raise ValueError(f"run directory {str(config.run_dir)!r} holds no checkpoints")
        checkpoints = Checkpoints(config.run_dir / "checkpoints", experiment.training.keep_checkpoints)
        restored = checkpoints.restore(state, warn=lambda line: console.print(line, style="yellow", soft_wrap=True))
    if restored is None:
        fail(f"run directory {str(config.run_dir)!r} holds no checkpoint yet")
    params = chosen_params(restored, experiment.training.keep_best and not config.last)
    console.print(f"{built.summary}; after step {int(restored.step)}", highlight=False, soft_wrap=True)
    errors = evaluate(
        built.model, params, dataset, num_episodes=config.episodes, batch_size=config.batch_size
    )
    Console().print(errors_table(errors))
    if config.plots:
        built.draw(params, config.run_dir)
        print(f"report: {write_report(config.run_dir)}")


if __name__ == "__main__":
    main()
