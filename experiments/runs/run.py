"""One run, from its configuration to its report: check, train, evaluate, draw."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from common.checks import explained
from common.data import Dataset
from common.extensions import describe_arrays
from common.training.checkpoints import CheckpointError
from common.unread import unread_settings
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
from experiments.cli.fields import fields_of, get
from experiments.cli.tables import headline, print_errors
from experiments.evaluation.errors import evaluate
from experiments.families import BuiltModel, Family, find_preset
from experiments.runs.restore import selected_params
from experiments.runs.warm_start import begin, check_warm_start, is_resumed, parameter_shapes
from experiments.training import run_directory
from experiments.training.augmentation import validate_augmentation_of
from experiments.training.config import (
    DataConfig,
    Experiment,
    from_json,
    is_own,
    load_blank,
    load_dataset,
    split_sizes,
    to_json,
    unread_data_settings,
    validate_budget,
    validate_data,
)
from experiments.training.image_shapes import write_image_shapes
from experiments.training.loop import Interrupted, NotFinite, Outcome, train
from experiments.training.programs import MakePrograms, Programs, check_step, checked, make_programs
from experiments.training.provenance import add_start, check_images, device, image_digests
from experiments.training.trust import code_digests


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
            check_configuration(family, experiment, preset, resumed)
            dataset = load(experiment.data)
            built = build_checked(family, experiment, preset, dataset, len(dataset.train.labels), resumed)
            parameters = check_step(experiment, built.model, dataset)
            state, started_from = begin(family, experiment, built.model, resumed)
            programs = make(experiment, built.model, dataset)
            held.enter_context(run_directory.locked(run_dir))
        try:
            with user_errors(ValueError):
                # Another process may have used the directory meanwhile: it is checked once more.
                own, extended_from = open_run_directory(
                    run_dir, family, experiment, preset, dataset, image_digests(dataset), started_from
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
            fail(f"{error} (run directory {str(run_dir)!r}); fix this, then resume with: {resume_with}")
        except (Interrupted, KeyboardInterrupt) as stop:
            print_line(f"{str(stop) or 'interrupted'}; resume with: {resume_with}")
            exit_interrupted()
    return run_dir


def default_name(family: Family, experiment: Experiment, preset: str) -> str:
    """Return the default name of a run directory, such as ``ram-quick-seed0``."""
    return f"{family.name.rpartition(':')[0] or family.name}-{preset}-seed{experiment.training.seed}"


def identity(family: Family, experiment: Experiment, preset: str) -> dict[str, Any]:
    """Return what identifies a run, the content of its ``config.json``.

    That is its family, preset and configuration, and the SHA-256 of the source of everything of the user's own that
    it uses, by ``module:name``.
    """
    config = to_json(experiment)
    return {
        "family": family.name,
        "preset": preset,
        "config": config,
        "code": code_digests(family.name, config),
    }


def check_run_directory(run_dir: Path, family: Family, experiment: Experiment, preset: str) -> None:
    """Check that a run can use its run directory (see `run_directory.check_run`)."""
    run_directory.check_run(
        run_dir,
        identity(family, experiment, preset),
        resume=experiment.output.resume,
        overwrite=experiment.output.overwrite,
        complete=lambda saved: to_json(from_json(family.experiment, saved)),
    )


def open_run_directory(
    run_dir: Path,
    family: Family,
    experiment: Experiment,
    preset: str,
    dataset: Dataset,
    images: Mapping[str, str],
    started_from: Mapping[str, Any] | None,
) -> tuple[dict[str, str], list[int]]:
    """Create or continue the directory of a run that is about to train, and record its start.

    Args:
      run_dir: the run directory.
      family: what is trained.
      experiment: its configuration.
      preset: the name of the preset that it started from.
      dataset: its images.
      images: their digests (`experiments.training.provenance.image_digests`).
      started_from: the record of its warm start (`experiments.runs.warm_start.begin`).

    Returns:
      The digests of the user's own code that it uses, and the numbers of steps that it was extended from.

    Raises:
      ValueError: the run cannot use or write this directory, or it has seen other images.
      OSError: a further file cannot be written.
    """
    check_run_directory(run_dir, family, experiment, preset)
    if experiment.output.resume:
        check_images(run_dir, images)
    known = identity(family, experiment, preset)
    with explained(f"run directory {str(run_dir)!r} cannot be written", OSError):
        extended_from = run_directory.open_run(run_dir, known, resume=experiment.output.resume)
    add_start(run_dir, images, known["code"], started_from)
    write_image_shapes(run_dir, dataset)
    return known["code"], extended_from


def check_configuration(family: Family, experiment: Experiment, preset: str, resumed: bool) -> None:
    """Check, before images are made, everything that does not depend on them.

    Args:
      family: what is trained.
      experiment: its configuration; with images of your own it is checked against them after they are loaded.
      preset: the name of the preset that it started from.
      resumed: the run continues from a checkpoint.

    Raises:
      ValueError: a bad configuration.
    """
    validate_budget(experiment)
    validate_data(experiment.data)
    if is_own(experiment.data):
        return
    sizes = split_sizes(experiment.data.num_images)
    images = None if sizes is None else sizes[0]
    built = build_checked(family, experiment, preset, load_blank(experiment.data), images, resumed)
    if not resumed:
        check_warm_start(family, experiment, parameter_shapes(built.model))


def build_checked(
    family: Family, experiment: Experiment, preset: str, dataset: Dataset, num_images: int | None, resumed: bool
) -> BuiltModel:
    """Check a configuration against its images and build its model.

    Args:
      family: what is trained.
      experiment: its configuration.
      preset: the name of the preset that it started from.
      dataset: its images, or blank ones.
      num_images: number of its training images; None if it is not known yet.
      resumed: the run continues from a checkpoint; its settings were checked when it began.

    Raises:
      ValueError: a batch is larger than the training set, the images do not suit the model, or nothing reads a setting.
    """
    batch_size = experiment.training.batch_size
    if num_images is not None and batch_size > num_images:
        raise ValueError(f"batch_size {batch_size}: must be at most {num_images}, the number of training images")
    built = build(family, experiment, dataset)
    if not resumed:
        check_unread(family, experiment, preset, built)
    return built


def check_unread(family: Family, experiment: Experiment, preset: str, built: BuiltModel) -> None:
    """Check that fields which nothing reads have the preset's values or their defaults.

    Raises:
      ValueError: one has another value; quotes it.
    """
    base, fields = find_preset(family, preset), fields_of(type(experiment))
    unread = {**unread_settings(experiment), **unread_data_settings(experiment.data), **built.unread}
    for name, why in unread.items():
        if name not in fields:
            raise ValueError(f"the model of family {family.name!r} names the unread setting {name!r}: no such field")
        path = fields[name].path
        (default,) = (each.default for each in dataclasses.fields(get(experiment, path[:-1])) if each.name == name)
        value, of_preset = get(experiment, path), get(base, path)
        if value not in (of_preset, default):
            raise ValueError(f"{name} {value!r}{why}, so it has no effect; leave it at {of_preset!r}")


def build(family: Family, experiment: Experiment, dataset: Dataset) -> BuiltModel:
    """Build the model of an experiment for its images, and check that its augmentation suits them.

    Raises:
      ValueError: a bad configuration.
    """
    validate_augmentation_of(experiment.data.augmentation, dataset, is_own(experiment.data))
    built = family.build(experiment, dataset)
    if not isinstance(built, BuiltModel):
        raise ValueError(f"the build of family {family.name!r} returned {describe_arrays(built)}: must be a BuiltModel")
    return built._replace(model=checked(built.model, dataset))


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
