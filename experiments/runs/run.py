"""One run, from its configuration to its report: check, train, evaluate, draw."""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from common.data import Dataset
from common.extensions import describe_arrays
from common.training.checkpoints import CheckpointError
from experiments.cli.command_line import (
    computing,
    exit_interrupted,
    explain,
    fail,
    own_line,
    parse_preset,
    resume_command,
    user_errors,
)
from experiments.cli.console import print_line, print_warning
from experiments.cli.tables import headline, print_errors
from experiments.evaluation.errors import evaluate
from experiments.families import BuiltModel, Family
from experiments.runs.preparation import check_run_directory, check_settings, identity, open_run_directory, prepare
from experiments.runs.restore import selected_params
from experiments.runs.warm_start import begin, is_resumed
from experiments.training import run_directory
from experiments.training.config import (
    DataConfig,
    Experiment,
    is_own,
    load_blank,
    load_dataset,
)
from experiments.training.loop import Interrupted, NotFinite, Outcome, train
from experiments.training.programs import MakePrograms, Programs, check_step, make_programs
from experiments.training.provenance import device, image_digests


def train_command(family: Family) -> Callable[..., None]:
    """Return the ``main`` of ``python -m experiments.FAMILY PRESET [flags]``, which trains and reports.

    ``main`` takes the arguments of the command line; by default those of the process.
    """

    def main(args: Sequence[str] | None = None) -> None:
        args = sys.argv[1:] if args is None else args
        command, presets = f"python -m {family.command}", family.described_presets()
        preset, experiment = parse_preset(command, family.description, presets, args)
        run(family, experiment, preset, resume_command(family.command, args))

    return main


def run(
    family: Family,
    experiment: Experiment,
    preset: str,
    resume_with: str,
    *,
    load: Callable[[DataConfig], Dataset] = load_dataset,
    make: MakePrograms = make_programs,
) -> Path:
    """Train, evaluate once on the test set, draw and report.

    Exits with one line and status 2 on bad input, on a step that is not finite, on a full disk and on too little memory
    of the device, and with status 130 after Ctrl-C, SIGTERM or SIGHUP.

    Args:
      family: what is trained.
      experiment: its configuration.
      preset: the name of the preset that it started from.
      resume_with: the command that resumes the run, for messages.
      load: loads the images; runs one after another may share them.
      make: makes its jitted functions; runs one after another may share them too.

    Returns:
      The run directory.
    """
    run_dir = experiment.output.run_dir or Path("runs") / default_name(family, experiment, preset)
    with contextlib.ExitStack() as held:
        with computing("interrupted before the first step"):
            check_run_directory(run_dir, family, experiment, preset)
            resumed = is_resumed(run_dir, experiment.output.resume)
            check_settings(experiment)
            if not is_own(experiment.data):  # Before images are made, which takes long.
                prepare(family, experiment, preset, load_blank(experiment.data), resumed=resumed, blank=True)
            dataset = load(experiment.data)
            built = prepare(family, experiment, preset, dataset, resumed=resumed)
            parameters = check_step(experiment, built.model, dataset)
            state, started_from = begin(family, experiment, built.model, resumed)
            programs = make(experiment, built.model, dataset)
            images = image_digests(dataset)
            held.enter_context(run_directory.locked(run_dir))
        try:
            with user_errors(ValueError):
                # Another process may have used the directory meanwhile: it is checked once more.
                own, extended_from = open_run_directory(
                    run_dir, family, experiment, preset, dataset, images, started_from
                )
            print_line(f"{built.summary}; {parameters:,} parameters; {device()}; {run_dir}")
            if extended_from:
                steps = experiment.training.steps
                print_line(
                    f"extended from {extended_from[-1]} to {steps} steps: the learning rate and sigma follow the "
                    f"schedules of a run of {steps} steps"
                )
            with user_errors(NotFinite, CheckpointError):
                outcome = train(experiment, dataset, built.model, state, programs, run_dir, built.observe, own=own)
                finish(family, experiment, preset, dataset, built, outcome, programs, run_dir)
        except jax.errors.JaxRuntimeError as error:
            fail(f"{str(error).splitlines()[0]}; resume with less memory or on another device: {resume_with}")
        except OSError as error:
            again = f"resume with: {resume_with}" if run_directory.holds_run(run_dir) else "run the command again"
            fail(f"{error} (run directory {str(run_dir)!r}); fix this, then {again}")
        except (Interrupted, KeyboardInterrupt) as stop:
            again = f"; resume with: {resume_with}" if run_directory.holds_run(run_dir) else " before the first step"
            print_line(f"{str(stop) or 'interrupted'}{again}")
            exit_interrupted()
    return run_dir


def default_name(family: Family, experiment: Experiment, preset: str) -> str:
    """Return the default name of a run directory, such as ``ram-quick-seed0``."""
    return f"{family.name.rpartition(':')[0] or family.name}-{preset}-seed{experiment.training.seed}"


def measure(built: BuiltModel, params: Any) -> dict[str, Any]:
    """Return the further results of a model (`BuiltModel.measure`).

    Raises:
      ValueError: they are not JSON values by name.
    """
    measured = built.measure(params)
    try:
        json.dumps(dict(measured))
    except (TypeError, ValueError):
        found = describe_arrays(measured)
        raise ValueError(
            f"the measure of the model returned {found}: must return a dictionary of JSON values, so give arrays as "
            "lists, by .tolist()"
        ) from None
    return measured


def draw(built: BuiltModel, params: Any, run_dir: Path) -> None:
    """Draw the figures of a run; if that fails, print why, and leave those that are drawn.

    Raises:
      OSError: a file cannot be written.
    """
    try:
        built.draw(params, run_dir)
    except OSError:
        raise
    except Exception as error:
        place = own_line(error)
        print_warning(f"not all figures are drawn: {explain(error)}{f' ({place})' if place else ''}")


def finish(
    family: Family,
    experiment: Experiment,
    preset: str,
    dataset: Dataset,
    built: BuiltModel,
    outcome: Outcome,
    programs: Programs,
    run_dir: Path,
) -> None:
    """Evaluate the selected parameters, write ``results.json``, draw the plots and write the report."""
    config = experiment.training
    params = selected_params(outcome.state, config.keep_best)
    print_line("evaluating on the validation and test sets")
    with user_errors():
        measured = measure(built, params)
    starts = run_directory.read_starts(run_dir)
    replicates = 1 if built.attention is None else experiment.model.estimator.replicates
    results = {
        "task": dataset.name,
        **identity(family, experiment, preset),
        **run_directory.read_extensions(run_dir),
        "seed": config.seed,
        **{name: starts[-1][name] for name in ("commit", "device", "jax_version")},
        "starts": starts,
        "wall_seconds": round(outcome.seconds, 1),
        "steps": int(outcome.state.step),
        "episodes": int(outcome.state.step) * config.batch_size * replicates,
        "parameters": optax.tree.size(params),
        **evaluate(built.model, programs.predict_final, params, dataset),
        **measured,
    }
    run_directory.write_sealed(run_dir / "results.json", results)
    if experiment.output.plots:
        from experiments.pages.run_page import write_report

        print_line("drawing")
        draw(built, params, run_dir)
        report = write_report(run_dir)
    print_errors(results, config.eval_episodes)
    print(headline(results, config.eval_episodes))
    print(f"report: {report}" if experiment.output.plots else f"results: {run_dir / 'results.json'}")
