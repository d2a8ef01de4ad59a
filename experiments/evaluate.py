"""Evaluate a trained run: ``python -m experiments.evaluate RUN_DIR [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.checks import Range, check_output, check_ranges, refuse_settings
from experiments.cli.command_line import computing, parse
from experiments.cli.console import print_line
from experiments.cli.tables import print_errors
from experiments.evaluation.errors import evaluate as evaluate_errors
from experiments.output.json_files import write_json
from experiments.runs.restore import read_run
from experiments.runs.run import draw
from experiments.runs.trained_agents import is_file, load_agent
from experiments.training.config import load_evaluation_images
from experiments.training.programs import final_predictor
from experiments.training.provenance import digest, environment
from experiments.training.run_directory import read_identity
from experiments.training.trust import code_digests, trust


@dataclass(frozen=True)
class Evaluation:
    """Evaluate the best parameters of a run on its validation and test sets.

    Prints a row of errors in per cent for each read-out. A run that samples its glimpses has four read-outs: greedy,
    one episode, and the means of class probabilities and of log-probabilities over several episodes. Other runs have
    only the greedy one.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run; or a trained agent: the name of one that comes with the repository, or a file of
    experiments.export."""
    episodes: Annotated[int | None, Range(1)] = None
    """Sampled episodes of the mean read-outs; by default those of the run's configuration."""
    batch_size: Annotated[int | None, Range(1)] = None
    """Images in one compiled call; by default that of the run's configuration. Another number draws other episodes."""
    last: bool = False
    """Evaluate the last parameters instead of those with the lowest validation error."""
    plots: bool = False
    """Also redraw the plots and the report."""
    output: Path | None = None
    """JSON file for the errors in all detail; by default none is written."""
    trust_code: bool = False
    """Allow the code that the run names as module:name, now and later, also if you have not run it before. Read it
    first."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Evaluation, "python -m experiments.evaluate", args)
    with computing("interrupted; the run is unchanged"):
        evaluate(config)


def evaluate(config: Evaluation) -> None:
    """Restore a run, measure its errors and print them.

    Raises:
      ValueError: the folder holds no run, or a number is out of range.
      OSError: the plots or the errors cannot be written.
    """
    check_ranges(config)
    check_output("output", config.output)
    if config.last:
        refuse_settings(config, ("plots",), " with last: the report shows the run's best parameters; give one of them")
    if is_file(config.run_dir) or not config.run_dir.exists():
        agent = load_agent(config.run_dir)
        refuse_settings(config, ("last", "plots"), f": {str(config.run_dir)!r} is one set of parameters and no run")
        experiment, dataset, params = agent.experiment, load_evaluation_images(agent.experiment.data), agent.params
        if digest(dataset) != agent.images_digest:
            raise ValueError(f"{str(config.run_dir)!r}: its validation or test images were other ones")
        built, step = agent.family.build(experiment, dataset), agent.step
    else:
        if config.trust_code:
            identity = read_identity(config.run_dir)
            trust(code_digests(identity["family"], identity["config"]))
        run = read_run(config.run_dir, load_evaluation_images)
        experiment, dataset, params = run.experiment, run.dataset, run.params(config.last)
        built, step = run.built, run.step(config.last)
    if not built.model.stochastic:
        refuse_settings(config, ("episodes",), ": this run sees whole images and samples no episodes")
    print_line(f"{built.summary}; after step {step}")
    predict = final_predictor(experiment, built.model, config.episodes, config.batch_size)
    results = evaluate_errors(built.model, predict, params, dataset) | built.measure(params)
    episodes = config.episodes or experiment.training.eval_episodes
    print_errors(results, episodes)
    if config.output is not None:
        facts = {"run": str(config.run_dir), "after_step": step, "episodes": episodes}
        write_json(config.output, facts | environment() | results)
        print(f"results: {config.output}")
    if config.plots:
        from experiments.pages.run_page import write_report

        draw(built, params, config.run_dir)
        print(f"report: {write_report(config.run_dir)}")


if __name__ == "__main__":
    main()
