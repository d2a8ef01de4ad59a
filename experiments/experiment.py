"""One experiment from its configuration to its report; `experiments.ram` and `experiments.cnn` are thin over it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console

from common.baselines import make_baseline, validate_baseline
from common.checkpoint import CheckpointError
from common.data import Dataset
from common.evaluation import Predictions
from common.locations import describe_sigma
from common.training import Model, TrainState
from experiments import run_directory
from experiments.command_line import fail, interruptible, user_errors
from experiments.config import (
    CnnExperiment,
    DataConfig,
    Experiment,
    RamExperiment,
    load_dataset,
    to_json,
    validate_budget,
)
from experiments.pictures import draw_baseline, draw_ram
from experiments.programs import Compile, compile_alone
from experiments.report import write_report
from experiments.tables import errors_table
from experiments.train import Interrupted, NotFinite, Outcome, Run, evaluate, make_initial_state, say, train
from ram.agent import make_ram
from ram.config import validate as validate_ram


class Built(NamedTuple):
    """What an experiment trains on.

    Attributes:
      model: the functions that are trained and evaluated.
      draw: ``(params, run_dir) -> None``, the pictures.
      summary: one line for people.
    """

    model: Model
    draw: Callable[[Any, Path], None]
    summary: str


def build(experiment: Experiment, dataset: Dataset) -> Built:
    """Builds the model of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config, height, width = experiment.training, dataset.height, dataset.width
    size = len(dataset.train.labels)
    if config.batch_size > size:
        raise ValueError(f"batch_size {config.batch_size}: larger than the train split, so at most {size}")
    if experiment.data.shift >= min(height, width):
        raise ValueError(
            f"shift {experiment.data.shift}: must be below the side of the {height}x{width} images, so at most "
            f"{min(height, width) - 1}"
        )
    minibatches = experiment.model.estimator.minibatches if isinstance(experiment, RamExperiment) else 1
    if minibatches > 0 and config.batch_size % minibatches:
        raise ValueError(f"minibatches {minibatches}: must divide batch_size {config.batch_size}")
    if config.steps >= 2**31:
        raise ValueError(f"steps {config.steps}: must be below {2**31}, since the step is counted in 32 bits")
    shape = (height, width, dataset.channels, dataset.num_classes)
    images = f"{dataset.name}: {height}x{width}x{dataset.channels}, {dataset.num_classes} classes"
    if isinstance(experiment, CnnExperiment):
        validate_baseline(experiment.model, height, width)
        model = make_baseline(experiment.model, *shape)

        def draw(params: Any, run_dir: Path) -> None:
            draw_baseline(model, params, dataset, run_dir, config.eval_batch_size)

        return Built(model, draw, f"{images}; {experiment.model.network}")
    validate_ram(experiment.model, height, width)
    ram = make_ram(experiment.model, *shape)

    def draw_agent(params: Any, run_dir: Path) -> None:
        draw_ram(ram, params, dataset, run_dir, config.eval_batch_size)

    first, last = (describe_sigma(ram.sigma(jnp.array(p)).tolist(), height, width) for p in (0.0, 1.0))
    sigma = first if first == last else f"{first} to {last}"
    agent, retina = experiment.model.agent, experiment.model.retina
    return Built(
        ram.model,
        draw_agent,
        f"{images}; {agent.num_glimpses} glimpses of {retina.num_scales} x {retina.glimpse_size}x{retina.glimpse_size}"
        f", {agent.core}, M = {experiment.model.estimator.replicates}, sigma {sigma}",
    )


def parameter_count(params: Any) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def model_name(experiment: Experiment) -> str:
    """``ram``, or the network's name."""
    return "ram" if isinstance(experiment, RamExperiment) else experiment.model.network


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
    identity = {"model": name, "preset": preset, "config": to_json(experiment)}
    commit = run_directory.commit()  # Of the code that trains: the tree may change before the end.
    too_large = jax.errors.JaxRuntimeError  # For the device.
    with interruptible("interrupted before the first step"), user_errors(ValueError, OSError, too_large):
        run_directory.check_run(run_dir, identity, resume=output.resume, overwrite=output.overwrite)
        validate_budget(experiment)
        dataset = load(experiment.data)
        built = build(experiment, dataset)
        state = make_initial_state(experiment, built.model, dataset)
        programs = compile(experiment, built.model, dataset)
        run_directory.open_run(run_dir, identity, resume=output.resume)
    parameters = parameter_count(state.params)
    try:
        say(f"{built.summary}; {parameters:,} parameters; {run_directory.device()}; {run_dir}")
        with user_errors(NotFinite, CheckpointError):
            training = Run(experiment, dataset, state, programs.validate, run_dir)
            train([training], lambda runs, steps: [programs.chunk(runs[0].state, dataset.train, steps)])
            finish(experiment, identity, commit, dataset, built, training.outcome(), programs.evaluate, run_dir)
    except too_large as error:
        fail(f"{str(error).splitlines()[0]}; go on, with less memory or on another device, with: {again}")
    except OSError as error:
        fail(f"{error} (run directory {str(run_dir)!r}); when that is mended, go on with: {again}")
    except (Interrupted, KeyboardInterrupt) as stop:
        say(f"{str(stop) or 'interrupted'}; go on with: {again}")
        raise SystemExit(130) from None
    return run_dir


def finish(
    experiment: Experiment,
    identity: dict[str, Any],
    commit: str | None,
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
    results = {
        "task": dataset.name,
        **identity,
        "seed": config.seed,
        "commit": commit,
        "device": run_directory.device(),
        "jax_version": jax.__version__,
        "wall_seconds": round(outcome.seconds, 1),
        "steps": int(outcome.state.step),
        "episodes": outcome.episodes,
        "parameters": parameter_count(params),
        **errors,
    }
    run_directory.write_json(run_dir / "results.json", results)
    if experiment.output.plots:
        say("drawing")
        built.draw(params, run_dir)
        report = write_report(run_dir)
    Console().print(errors_table(errors, config.eval_episodes))
    test = errors["test"]
    if "average_probability" in test:
        error, how = test["average_probability"]["error"], f" (average of {config.eval_episodes} episodes)"
    else:
        error, how = test["greedy"]["error"], ""
    print(f"test accuracy: {100 - error:.2f}%{how}")
    if experiment.output.plots:
        print(f"report: {report}")


def measure(
    experiment: Experiment, predict: Callable[..., Predictions], params: Any, dataset: Dataset
) -> dict[str, dict[str, dict[str, Any]]]:
    """`experiments.train.evaluate`; of a network that sees the whole image only ``greedy``, since it draws nothing."""
    errors = evaluate(predict, params, dataset)
    if isinstance(experiment, RamExperiment):
        return errors
    return {split: {"greedy": methods["greedy"]} for split, methods in errors.items()}


def chosen_params(state: TrainState, best: bool) -> Any:
    """The parameters that are reported: those of the lowest validation error, or the last."""
    return state.best_params if best and int(state.best_step) else state.params


def experiment_class(model: str) -> type[Experiment]:
    """The class of the experiment that trained a model.

    Raises:
      ValueError: the model is unknown.
    """
    classes = {"ram": RamExperiment} | dict.fromkeys(("fc", "paper_cnn", "article_cnn"), CnnExperiment)
    if model not in classes:
        raise ValueError(f"model {model!r} of the run is unknown: must be one of {', '.join(classes)}")
    return classes[model]
