"""One experiment from its configuration to its report; the command lines of the models are thin over it."""

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from common.data import Dataset
from common.training.checkpoints import CheckpointError
from common.training.evaluation import Predictions
from experiments.cli.command_line import fail, interruptible, parse_preset, resume_command, user_errors
from experiments.cli.tables import headline, print_errors
from experiments.models import Built, build, identity, model_name, observer, validate_batch
from experiments.reports.run_page import write_report
from experiments.training import run_directory
from experiments.training.config import (
    DataConfig,
    Experiment,
    WholeImageExperiment,
    from_json,
    is_own,
    load_blank,
    load_dataset,
    split_sizes,
    to_json,
    validate_budget,
    validate_data,
)
from experiments.training.loop import Interrupted, NotFinite, Outcome, Run, check_step, evaluate, say, train
from experiments.training.programs import Compile, compile_alone
from experiments.training.provenance import add_start, digest, read_starts
from experiments.training.restore import chosen_params
from experiments.training.warm_start import begin, check_start, goes_on, shapes_of


def command(module: str, description: str, presets: Mapping[str, tuple[str, Experiment]]) -> Callable[..., None]:
    """What runs the command line of ``python -m experiments.MODULE PRESET [flags]``, which trains and reports.

    Args:
      module: its name.
      description: first line of its help.
      presets: by name, the line that the help shows and the configuration.

    Returns:
      ``main``: takes the arguments, None for those of the process.
    """

    def main(args: Sequence[str] | None = None) -> None:
        args = sys.argv[1:] if args is None else args
        preset, experiment = parse_preset(f"python -m experiments.{module}", description, presets, args)
        run(experiment, preset, resume_command(module, args))

    return main


def check_early(experiment: Experiment, continued: bool) -> None:
    """Refuses, before images are made, what does not depend on them.

    Args:
      experiment: what is to be trained; the user's own images say by themselves what fits them.
      continued: whether it goes on from a checkpoint.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    validate_data(experiment.data)
    if is_own(experiment.data):
        return
    model = build(experiment, load_blank(experiment.data)).model
    if not continued:
        check_start(experiment, shapes_of(model))
    sizes = split_sizes(experiment.data.num_images)
    if sizes is not None:
        validate_batch(experiment, sizes[0])


def run(
    experiment: Experiment,
    preset: str,
    again: str,
    *,
    load: Callable[[DataConfig], Dataset] = load_dataset,
    compile: Compile = compile_alone,
) -> Path:
    """Trains, evaluates once on the test set, draws and reports. Returns the folder of the run.

    Exits with one line and status 2 on bad input, on a step that is not finite, on a full disk and on too little memory
    of the device, and with status 130 after Ctrl-C.

    Args:
      experiment: what to train.
      preset: the name it started from.
      again: what to type in order to go on with the run, for people.
      load: gives the images, which runs one after another may share.
      compile: gives the compiled functions, likewise.
    """
    output = experiment.output
    name = model_name(experiment)
    run_dir = output.run_dir or Path("runs") / f"{name}-{preset}-seed{experiment.training.seed}"
    known = identity(experiment, preset)
    check = functools.partial(
        run_directory.check_run,
        run_dir,
        known,
        resume=output.resume,
        overwrite=output.overwrite,
        complete=lambda saved: to_json(from_json(type(experiment), saved)),
    )
    with contextlib.ExitStack() as held:
        with interruptible("interrupted before the first step"), user_errors():
            check()
            validate_budget(experiment)
            continued = goes_on(run_dir, output.resume)
            check_early(experiment, continued)
            dataset = load(experiment.data)
            validate_batch(experiment, len(dataset.train.labels))
            built = build(experiment, dataset)
            check_step(experiment, built.model, dataset)
            state = begin(experiment, built.model, continued)
            programs = compile(experiment, built.model, dataset)
            held.enter_context(run_directory.locked(run_dir))
            check()  # Another process may have left something there meanwhile.
            run_directory.open_run(run_dir, known, resume=output.resume)
            add_start(run_dir, digest(dataset))
        parameters = optax.tree.size(state.params)
        try:
            say(f"{built.summary}; {parameters:,} parameters; {run_directory.device()}; {run_dir}")
            with user_errors(NotFinite, CheckpointError):
                training = Run(experiment, dataset, state, programs.validate, run_dir, observer(built, run_dir))
                train([training], lambda runs, steps: [programs.chunk(runs[0].state, dataset.train, steps)])
                finish(experiment, known, dataset, built, training.outcome(), programs.evaluate, run_dir)
        except jax.errors.JaxRuntimeError as error:
            fail(f"{str(error).splitlines()[0]}; go on, with less memory or on another device, with: {again}")
        except OSError as error:
            fail(f"{error} (run directory {str(run_dir)!r}); when that is mended, go on with: {again}")
        except (Interrupted, KeyboardInterrupt) as stop:
            say(f"{str(stop) or 'interrupted'}; go on with: {again}")
            raise SystemExit(130) from None
    return run_dir


def finish(
    experiment: Experiment,
    known: dict[str, Any],
    dataset: Dataset,
    built: Built,
    outcome: Outcome,
    predict: Callable[..., Predictions],
    run_dir: Path,
) -> None:
    """Evaluates the chosen parameters, writes ``results.json``, and draws the pictures and the report."""
    config = experiment.training
    params = chosen_params(outcome.state, config.keep_best)
    say("evaluating on the validation and test sets")
    errors = measure(experiment, predict, params, dataset)
    starts = read_starts(run_dir)
    results = {
        "task": dataset.name,
        **known,
        "seed": config.seed,
        **{name: starts[-1][name] for name in ("commit", "device", "jax_version")},
        "starts": starts,
        "wall_seconds": round(outcome.seconds, 1),
        "steps": int(outcome.state.step),
        "episodes": outcome.episodes,
        "parameters": optax.tree.size(params),
        **errors,
        **built.measure(params),
    }
    run_directory.write_json(run_dir / "results.json", results)
    if experiment.output.plots:
        say("drawing")
        built.draw(params, run_dir)
        report = write_report(run_dir)
    print_errors(results, config.eval_episodes)
    print(headline(results, config.eval_episodes))
    print(f"report: {report}" if experiment.output.plots else f"results: {run_dir / 'results.json'}")


def measure(
    experiment: Experiment, predict: Callable[..., Predictions], params: Any, dataset: Dataset
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure errors by every read-out; a network that sees the whole image has ``greedy`` alone."""
    errors = evaluate(predict, params, dataset)
    if not isinstance(experiment, WholeImageExperiment):
        return errors
    return {split: {"greedy": methods["greedy"]} for split, methods in errors.items()}
