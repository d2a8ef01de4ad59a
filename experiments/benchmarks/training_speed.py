"""How fast RAM trains, beside PyTorch: ``python -m experiments.benchmarks.training_speed [flags]``.

JAX runs the chunk of training steps that `experiments.ram` runs, images made on the device included. PyTorch runs
`torch_ram`, on images that were made before and lie in memory. The two take turns, so that whatever else the machine does
meets both; compiling and the first steps are not timed.
"""

import dataclasses
import importlib.metadata
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from jaxtyping import Array, Float, UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from common.data import Dataset, load_task, sample_batch
from common.glimpse import Retina, glimpse, summed_area_table
from common.training import OptimizerConfig
from experiments import run_directory
from experiments.benchmarks.arithmetic import FLOPS_SOURCE, matrix_products, program_flops
from experiments.command_line import run_tyro, user_errors
from experiments.config import DataConfig, RamExperiment, TrainingConfig, validate_training
from experiments.train import make_initial_state
from ram.agent import make_ram
from ram.config import AgentConfig, LossConfig, RamConfig, RetinaConfig, make_retina
from ram.config import validate as validate_ram

console = Console(stderr=True)

# Part of the seconds of a round that each of the smaller programs is timed for.
SMALL_PART = 0.1
_POOL_BATCH = 512


@dataclass(frozen=True)
class SpeedConfig:
    """What is measured."""

    task: str = "cluttered100"
    """Task made from MNIST: mnist28, translated60, cluttered60, cluttered100 or augmented100."""
    batch_size: int = 128
    """Images B in a batch."""
    replicates: tuple[int, ...] = (1, 10)
    """Numbers M of replicates of each image; each is measured in turn. Rates are episodes (B * M a step) a second, which for
    M = 1 is images a second."""
    glimpse_size: int = 12
    """Side G of each scale's patch, in samples."""
    num_scales: int = 4
    """Number K of scales."""
    num_glimpses: int = 8
    """Number T of glimpses of an episode."""
    core_hidden: int = 256
    """Units of the LSTM."""
    seconds: float = 10.0
    """Seconds, at least, of each program's turn; whole chunks of steps are timed."""
    rounds: int = 3
    """Rounds in which JAX and PyTorch take a turn each; medians over rounds are reported."""
    chunk_steps: int = 100
    """Training steps of one compiled call of JAX; `experiments.ram` does 100."""
    pool: int = 8192
    """Images made in advance for PyTorch."""
    product_size: int = 1024
    """Side of the square float32 matrices whose product's rate the arithmetic is compared with."""
    torch: bool = True
    """Measure PyTorch (an extra: pip install '.[benchmark]'); with --no-torch JAX alone."""
    output: Path | None = None
    """JSON file for the results with all rounds; overwritten. Only the table when not given."""


def validate(config: SpeedConfig) -> None:
    """Checks the numbers, and that the output can be written.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    for name in ("rounds", "chunk_steps", "pool", "product_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} {getattr(config, name)}: must be at least 1")
    if not config.replicates:
        raise ValueError("replicates (): give at least one number")
    if not 0 < config.seconds < float("inf"):
        raise ValueError(f"seconds {config.seconds}: must be positive and finite")
    if config.output is not None and (config.output.is_dir() or not config.output.parent.is_dir()):
        raise ValueError(f"output {str(config.output)!r}: must be a file in a folder that exists")


def make_experiment(config: SpeedConfig, replicates: int) -> RamExperiment:
    """The training run that is measured: RAM's hybrid loss, Adam at a constant rate, gradient clipping."""
    return RamExperiment(
        data=DataConfig(task=config.task),
        model=RamConfig(
            retina=RetinaConfig(config.glimpse_size, config.num_scales),
            agent=AgentConfig(num_glimpses=config.num_glimpses, core_hidden=config.core_hidden),
            loss=LossConfig(replicates=replicates),
        ),
        optimizer=OptimizerConfig(schedule="constant"),
        training=TrainingConfig(steps=1_000_000, batch_size=config.batch_size, log_every=config.chunk_steps),
    )


def measure_rate(call: Callable[[], float], seconds: float) -> float:
    """Units of work a second, over whole calls that together take at least ``seconds``.

    Args:
      call: does work, waits until it is done, and returns how many units it was.
      seconds: the least time.
    """
    begun, done, elapsed = time.perf_counter(), 0.0, 0.0
    while elapsed < seconds:
        done += call()
        elapsed = time.perf_counter() - begun
    return done / elapsed


def jax_training(experiment: RamExperiment, dataset: Dataset) -> tuple[Callable[[], float], float | None]:
    """The project's compiled chunk of training steps.

    Returns:
      A function that trains for a chunk and returns its number of episodes; and the floating-point operations of a step.

    Raises:
      ValueError: see `ram.config.validate`.
    """
    training, shape = experiment.training, (dataset.height, dataset.width)
    validate_training(training)
    validate_ram(experiment.model, *shape)
    model = make_ram(experiment.model, *shape, dataset.channels, dataset.num_classes).model
    state, chunk = make_initial_state(experiment, model, dataset)
    flops = program_flops(chunk, state, dataset.train, 1)

    def call() -> float:
        nonlocal state
        state, metrics = chunk(state, dataset.train, training.log_every)
        jax.block_until_ready((state, metrics))
        return training.log_every * training.batch_size * experiment.model.loss.replicates

    return call, flops


def torch_training(
    experiment: RamExperiment, dataset: Dataset, pool: int
) -> tuple[Callable[[], float], dict[str, Any]]:
    """The PyTorch implementation on a pool of images made here, on the same kind of device as JAX where it has one.

    Returns:
      A function that trains for a step (ten on a GPU) and returns its number of episodes; and the version, device and
      threads.

    Raises:
      ModuleNotFoundError: PyTorch is not installed.
    """
    from experiments.benchmarks.torch_ram import TorchTrainer, torch

    training = experiment.training
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    images, labels = make_pool(dataset, pool)
    trainer = TorchTrainer(
        experiment.model,
        experiment.optimizer,
        images,
        labels,
        num_classes=dataset.num_classes,
        batch_size=training.batch_size,
        device="cuda" if on_gpu else "cpu",
        seed=training.seed,
    )
    steps = 10 if on_gpu else 1

    def call() -> float:
        for _ in range(steps):
            trainer.step()
        if on_gpu:
            torch.cuda.synchronize()
        return steps * training.batch_size * experiment.model.loss.replicates

    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    return call, {"version": torch.__version__, "device": name, "threads": torch.get_num_threads()}


def make_pool(dataset: Dataset, size: int) -> tuple[UInt8[np.ndarray, "size H W C"], np.ndarray]:
    """Training images drawn as in training: ``(images, labels)`` on the host."""
    draw = jax.jit(lambda key, source: sample_batch(key, source, dataset.canvas, _POOL_BATCH))
    keys = jax.random.split(jax.random.key(0), -(-size // _POOL_BATCH))
    images, labels = zip(*(map(np.asarray, draw(key, dataset.train)) for key in keys), strict=True)
    return np.concatenate(images)[:size], np.concatenate(labels)[:size]


def see_all(
    images: UInt8[Array, "B H W C"], locations: Float[Array, "T M B 2"], retina: Retina
) -> Float[Array, "T M B K G G C"]:
    """The sensor's work in a training step: the tables of a batch, and all glimpses at normalised locations."""
    tables = jax.vmap(summed_area_table)(images)
    see = jax.vmap(glimpse, in_axes=(0, 0, None))
    return jax.vmap(jax.vmap(lambda where: see(tables, where, retina)))(locations)


def step_parts(experiment: RamExperiment, dataset: Dataset) -> dict[str, Callable[[], float]]:
    """Parts of a training step, each compiled alone; each function does one batch.

    Returns:
      ``images``: making the batch; ``sensor``: its tables and all its glimpses.
    """
    model, batch_size = experiment.model, experiment.training.batch_size
    draw = jax.jit(lambda key, source: sample_batch(key, source, dataset.canvas, batch_size)[0])
    sensor = jax.jit(see_all, static_argnums=2)
    key = jax.random.key(0)
    batch = draw(key, dataset.train)
    shape = (model.agent.num_glimpses, model.loss.replicates, batch_size, 2)
    locations = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

    def make_images() -> float:
        draw(key, dataset.train).block_until_ready()
        return 1.0

    def look() -> float:
        sensor(batch, locations, make_retina(model.retina)).block_until_ready()
        return 1.0

    return {"images": make_images, "sensor": look}


def summarise(rates: dict[str, list[float]], batch: int, flops: float | None) -> dict[str, Any]:
    """The figures of one number of replicates.

    Args:
      rates: rounds of ``jax`` and, if measured, ``torch`` (episodes a second), ``product`` (floating-point operations a
        second), ``images`` and ``sensor`` (batches a second).
      batch: episodes of a step, B * M.
      flops: floating-point operations of a step, if known.
    """
    median = {name: statistics.median(values) for name, values in rates.items()}
    seconds = batch / median["jax"]
    summary: dict[str, Any] = {
        "episodes_per_second": {
            n: {"median": median[n], "rounds": rates[n]} for n in ("jax", "torch") if n in rates
        },
        "step_seconds": seconds,
        "step_flops": flops,
        "product_flops_per_second": {"median": median["product"], "rounds": rates["product"]},
        "step_share_of_product_rate": flops / seconds / median["product"] if flops else None,
    }
    if "torch" in rates:
        summary["ratio"] = median["jax"] / median["torch"]
        summary["ratio_rounds"] = [
            ours / theirs for ours, theirs in zip(rates["jax"], rates["torch"], strict=True)
        ]
    for part in ("images", "sensor"):
        summary[f"{part}_seconds"] = {
            "median": 1 / median[part],
            "rounds": [1 / rate for rate in rates[part]],
        }
        summary[f"{part}_share_of_step"] = 1 / median[part] / seconds
    return summary


def measure(config: SpeedConfig) -> dict[str, Any]:
    """Measures everything.

    Returns:
      What is written as JSON.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
      ModuleNotFoundError: PyTorch is asked for and not installed.
    """
    validate(config)
    if config.torch:
        import experiments.benchmarks.torch_ram  # noqa: F401  (an early error where PyTorch is missing)
    console.print(f"loading {config.task}; {run_directory.device()}", highlight=False)
    dataset = load_task(config.task)
    results, torch_facts = [], None
    for replicates in config.replicates:
        experiment = make_experiment(config, replicates)
        train, flops = jax_training(experiment, dataset)
        calls = {"jax": train}
        if config.torch:
            calls["torch"], torch_facts = torch_training(experiment, dataset, config.pool)
        calls |= {"product": matrix_products(config.product_size)} | step_parts(experiment, dataset)
        rates = _take_turns(calls, config, f"M = {replicates}")
        results.append({"replicates": replicates} | summarise(rates, config.batch_size * replicates, flops))
    settings = dataclasses.asdict(config)
    settings.pop("output")
    return {
        "settings": settings,
        "commit": run_directory.commit(),
        "device": run_directory.device(),
        "torch": torch_facts,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "flops_source": FLOPS_SOURCE,
        "results": results,
    }


def _take_turns(
    calls: dict[str, Callable[[], float]], config: SpeedConfig, title: str
) -> dict[str, list[float]]:
    """Warms each program up, then measures them in turn in each round: rates by program and round."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=len(calls) * (config.rounds + 1))
        for name, call in calls.items():
            bar.update(task, description=f"{title}: warming up {name}")
            call(), call()
            bar.advance(task)
        for turn in range(config.rounds):
            for name, call in calls.items():
                bar.update(task, description=f"{title}, round {turn + 1}: {name}")
                least = config.seconds * (1 if name in ("jax", "torch") else SMALL_PART)
                rates[name].append(measure_rate(call, least))
                bar.advance(task)
    return rates


def make_table(record: dict[str, Any]) -> Table:
    """The results of `measure` for people; shares are of the time of JAX's training step."""
    settings = record["settings"]
    title = (
        f"{settings['task']}, batch {settings['batch_size']}, {settings['rounds']} rounds; {record['device']}"
    )
    table = Table(title=title, min_width=len(title))
    for name in ("M", "rate in", "JAX", "PyTorch", "ratio", "GFLOP/s", "of products'", "sensor", "images"):
        table.add_column(name, justify="right")
    for result in record["results"]:
        rates, share = result["episodes_per_second"], result["step_share_of_product_rate"]
        flops, compared = result["step_flops"], "torch" in rates
        table.add_row(
            str(result["replicates"]),
            "images/s" if result["replicates"] == 1 else "episodes/s",
            f"{rates['jax']['median']:,.0f}",
            f"{rates['torch']['median']:,.0f}" if compared else "-",
            f"{result['ratio']:.2f}" if compared else "-",
            f"{flops / result['step_seconds'] / 1e9:,.0f}" if flops else "-",
            f"{share:.0%}" if share is not None else "-",
            f"{result['sensor_share_of_step']:.1%}",
            f"{result['images_share_of_step']:.1%}",
        )
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    description = "Measures how fast RAM trains: JAX beside PyTorch, in turn, on this machine."
    config = run_tyro(
        lambda: tyro.cli(SpeedConfig, prog="training_speed", description=description, args=args)
    )
    with user_errors(ValueError, OSError, ModuleNotFoundError):
        record = measure(config)
        if config.output is not None:
            run_directory.write_json(config.output, record)
    Console().print(make_table(record))


if __name__ == "__main__":
    main()
