"""How fast RAM trains, beside PyTorch: ``python -m experiments.benchmarks.training_speed [flags]``.

JAX runs the chunk of training steps that `experiments.ram` runs, images made on the device included. PyTorch runs
`torch_ram`, on images that were made in advance and lie in memory, with a straightforward retina as public
implementations have it and with one that was tuned. All take turns, so that whatever else the machine does meets each
of them; compiling and the first steps are not timed. They need an idle machine nevertheless: threads of PyTorch wait
for one another several times an operation, so a busy core costs it much more than it costs JAX.
"""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from common.attention.config import RetinaConfig
from common.checks import require_at_least
from common.data import TASKS, find_task, load_task
from common.policy_gradient import EstimatorConfig
from common.training.optimizers import OptimizerConfig
from experiments.benchmarks.arithmetic import FLOPS_SOURCE, matrix_products
from experiments.benchmarks.contenders import Work, jax_training, step_parts, torch_training
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.families.ram import RamExperiment
from experiments.training import provenance, run_directory
from experiments.training.config import DataConfig, TrainingConfig
from ram.config import AgentConfig, RamConfig

console = Console(stderr=True)

TRAINING = ("jax", "torch", "torch_tuned")
# The other programs are short and steady: part of a turn's seconds that each is timed for.
SHORT_TURN = 0.1
# Average number of running programs, over the last minute, above which the machine counts as busy.
BUSY = 1.0


@dataclass(frozen=True)
class SpeedConfig:
    """What is measured."""

    task: str = "cluttered100"
    """Task made from MNIST: mnist28, translated60, cluttered60, cluttered100 or augmented100."""
    batch_size: int = 128
    """Images B in a batch."""
    replicates: tuple[int, ...] = (1, 10)
    """Numbers M of replicates of each image; each is measured. Rates are in episodes a second, B * M a step; for M = 1
    that is images a second."""
    glimpse_size: int = 12
    """Side G of each scale's patch, in samples."""
    num_scales: int = 4
    """Number K of scales."""
    num_glimpses: int = 8
    """Number T of glimpses of an episode."""
    core_hidden: int = 256
    """Units of the LSTM."""
    seconds: float = 10.0
    """Seconds, at least, of a turn; only whole chunks of steps are timed."""
    rounds: int = 3
    """Rounds, in each of which JAX and PyTorch take a turn; the median over rounds is reported."""
    chunk_steps: int = 100
    """Training steps of one compiled call of JAX; `experiments.ram` does 100."""
    pool: int = 8192
    """Images made in advance for PyTorch."""
    product_size: int = 1024
    """Side of the square float32 matrices whose product's rate the arithmetic is compared with."""
    torch: bool = True
    """Measure PyTorch, an extra (pip install '.[benchmark]'); with --no-torch JAX alone."""
    output: Path | None = None
    """JSON file for the results of every round, overwritten; only the table is printed when it is not given."""


def validate(config: SpeedConfig) -> None:
    """Checks what is not checked with the training run, before anything is measured.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    require_at_least(config, 1, "batch_size", "rounds", "chunk_steps", "pool", "product_size")
    if config.task not in TASKS or config.task == "images":
        find_task(config.task)  # Says which task may have been meant.
        raise ValueError(f"task {config.task!r}: must be one made from MNIST")
    if not config.replicates:
        raise ValueError("replicates (): give at least one number")
    for replicates in config.replicates:
        if replicates < 1:
            raise ValueError(f"replicates {replicates}: must be at least 1")
    if not 0 < config.seconds < float("inf"):
        raise ValueError(f"seconds {config.seconds}: must be positive and finite")
    if config.torch and config.num_glimpses < 2:
        raise ValueError(f"num_glimpses {config.num_glimpses}: PyTorch is compared with at least 2")
    if config.output is not None and (config.output.is_dir() or not config.output.parent.is_dir()):
        raise ValueError(f"output {str(config.output)!r}: must be a file in a folder that exists")


def busy_warning(load: float, compared: bool) -> str:
    """What to say when ``load`` programs, on average over the last minute, were running before the benchmark.

    Args:
      load: how many.
      compared: whether PyTorch is measured too.
    """
    wrong = "the ratio flatters JAX" if compared else "the rates are too low"
    return f"the machine is busy (load {load:.1f}): measure again when it is idle; until then {wrong}"


def make_experiment(config: SpeedConfig, replicates: int) -> RamExperiment:
    """The training run that is measured: RAM's hybrid loss, Adam at a constant rate, gradients clipped."""
    return RamExperiment(
        data=DataConfig(task=config.task),
        model=RamConfig(
            retina=RetinaConfig(config.glimpse_size, config.num_scales),
            agent=AgentConfig(num_glimpses=config.num_glimpses, core_hidden=config.core_hidden),
            estimator=EstimatorConfig(replicates=replicates),
        ),
        optimizer=OptimizerConfig(schedule="constant"),
        training=TrainingConfig(steps=1_000_000, batch_size=config.batch_size, log_every=config.chunk_steps),
    )


def measure_rate(work: Work, seconds: float) -> float:
    """Units of work a second, over as many calls as together take at least ``seconds``."""
    begun, done, elapsed = time.perf_counter(), 0.0, 0.0
    while elapsed < seconds:
        done += work()
        elapsed = time.perf_counter() - begun
    return done / elapsed


def take_turns(contenders: dict[str, Work], config: SpeedConfig, title: str) -> dict[str, list[float]]:
    """Warms each program up, then times all of them in every round.

    Returns:
      For each program its rate in every round, units a second.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=len(contenders) * (config.rounds + 1))
        for name, work in contenders.items():
            bar.update(task, description=f"{title}, warming up: {name}")
            for _ in range(2):
                work()
            bar.advance(task)
        for turn in range(config.rounds):
            for name, work in contenders.items():
                bar.update(task, description=f"{title}, round {turn + 1}: {name}")
                rates[name].append(measure_rate(work, config.seconds * (1 if name in TRAINING else SHORT_TURN)))
                bar.advance(task)
    return rates


def summarise(rates: dict[str, list[float]], batch: int, flops: float | None) -> dict[str, Any]:
    """The figures of one number of replicates.

    Args:
      rates: by round, ``jax`` and, if measured, ``torch`` and ``torch_tuned`` in episodes a second, ``product`` in
        floating-point operations a second, ``images`` and ``sensor`` in steps' worth a second.
      batch: episodes of a step, B * M.
      flops: floating-point operations of a step, None if unknown.

    Returns:
      Rates, and shares of JAX's training step; ``ratio`` is of the medians, JAX over PyTorch, ``ratio_tuned`` the
      same with the tuned retina.
    """
    median = {name: statistics.median(values) for name, values in rates.items()}
    rounded = {name: {"median": median[name], "rounds": rates[name]} for name in rates}
    step = batch / median["jax"]
    summary: dict[str, Any] = {
        "episodes_per_second": {name: rounded[name] for name in TRAINING if name in rates},
        "step_seconds": step,
        "step_flops": flops,
        "product_flops_per_second": rounded["product"],
        "arithmetic_share_of_product_rate": flops / step / median["product"] if flops else None,
        "parts_per_second": {name: rounded[name] for name in ("images", "sensor")},
        "images_share_of_step": 1 / median["images"] / step,
        "sensor_share_of_step": 1 / median["sensor"] / step,
    }
    for name, ratio in (("torch", "ratio"), ("torch_tuned", "ratio_tuned")):
        if name in rates:
            pairs = zip(rates["jax"], rates[name], strict=True)
            summary |= {
                ratio: median["jax"] / median[name],
                f"{ratio}_rounds": [ours / theirs for ours, theirs in pairs],
            }
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
        # An error before anything takes long.
        importlib.import_module("experiments.benchmarks.torch_ram")
    load = os.getloadavg()[0]
    if load > BUSY:
        console.print(busy_warning(load, config.torch), style="yellow", soft_wrap=True)
    console.print(f"loading {config.task}; {provenance.device()}", highlight=False)
    dataset, results, torch_facts = load_task(config.task), [], None
    for replicates in config.replicates:
        experiment = make_experiment(config, replicates)
        training, flops = jax_training(experiment, dataset)
        contenders = {"jax": training}
        if config.torch:
            torch_contenders, torch_facts = torch_training(experiment, dataset, config.pool)
            contenders |= torch_contenders
        contenders |= {"product": matrix_products(config.product_size)} | step_parts(experiment, dataset)
        rates = take_turns(contenders, config, f"M = {replicates}")
        results.append({"replicates": replicates} | summarise(rates, config.batch_size * replicates, flops))
    settings = dataclasses.asdict(config)
    del settings["output"]
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
    return {
        "settings": settings,
        "commit": provenance.commit(),
        "device": provenance.device(),
        "load_before": load,
        "torch": torch_facts,
        "versions": versions,
        "flops_source": FLOPS_SOURCE,
        "results": results,
    }


def make_table(record: dict[str, Any]) -> Table:
    """The results of `measure` for people, a column for each number of replicates."""
    settings, results = record["settings"], record["results"]
    title = f"{settings['task']}, batch {settings['batch_size']}, medians of {settings['rounds']} rounds"
    facts = [record["device"], f"arithmetic by {record['flops_source']}"]
    if record["load_before"] > BUSY:
        facts.append(busy_warning(record["load_before"], record["torch"] is not None))
    table = Table(title=title, caption="; ".join(facts))
    table.add_column("")
    for result in results:
        table.add_column(f"M = {result['replicates']}", justify="right")

    def rate(result: dict[str, Any], name: str) -> str:
        unit = "images/s" if result["replicates"] == 1 else "episodes/s"
        return f"{result['episodes_per_second'][name]['median']:,.0f} {unit}"

    def ratio(result: dict[str, Any], name: str) -> str:
        rounds = result[f"{name}_rounds"]
        return f"{result[name]:.2f} ({min(rounds):.2f} to {max(rounds):.2f})"

    table.add_row("JAX", *(rate(result, "jax") for result in results))
    if record["torch"] is not None:
        table.add_row(f"PyTorch on {record['torch']['device']}", *(rate(result, "torch") for result in results))
        table.add_row("  with the tuned retina", *(rate(result, "torch_tuned") for result in results))
        table.add_row("JAX / PyTorch (rounds)", *(ratio(result, "ratio") for result in results))
        table.add_row("  with the tuned retina", *(ratio(result, "ratio_tuned") for result in results))
    table.add_row("training step in JAX", *(f"{result['step_seconds'] * 1e3:,.2f} ms" for result in results))
    if all(result["step_flops"] for result in results):
        speeds = (result["step_flops"] / result["step_seconds"] / 1e9 for result in results)
        table.add_row("  its arithmetic", *(f"{speed:,.0f} GFLOP/s" for speed in speeds))
        products = (result["product_flops_per_second"]["median"] / 1e9 for result in results)
        table.add_row("  matrix products on this machine", *(f"{speed:,.0f} GFLOP/s" for speed in products))
        shares = (result["arithmetic_share_of_product_rate"] for result in results)
        table.add_row("  arithmetic / matrix products", *(f"{share:.0%}" for share in shares))
    for name in ("sensor", "images"):
        table.add_row(f"  {name}, share of the step", *(f"{result[f'{name}_share_of_step']:.1%}" for result in results))
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    description = "Measures how fast RAM trains: JAX and PyTorch in turn, on this machine."
    config = parse(SpeedConfig, "python -m experiments.benchmarks.training_speed", args, description)
    with interruptible("interrupted; nothing was written"), user_errors(ValueError, OSError, ModuleNotFoundError):
        record = measure(config)
        if config.output is not None:
            run_directory.write_json(config.output, record)
    Console().print(make_table(record))


if __name__ == "__main__":
    main()
