"""Measure the training speed of RAM in JAX and in PyTorch: ``python -m experiments.benchmarks.training_speed``.

JAX runs the chunk of training steps that `experiments.ram` runs, including making the images. PyTorch runs `torch_ram`
on images that were made in advance, with the simple retina of public implementations and with a tuned one. The programs
take turns, so that other programs on the machine affect all of them alike; compilation and the first steps are not
timed. Use an idle machine all the same: PyTorch's threads wait for each other several times in each operation, so a
busy core slows PyTorch much more than JAX.
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
from typing import Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from common.attention.config import RetinaConfig
from common.checks import Range, check_output, check_ranges, check_values
from common.data import TASKS, find_task, load_task
from common.policy_gradient import EstimatorConfig
from common.training.optimizers import OptimizerConfig
from experiments.benchmarks.arithmetic import matrix_products
from experiments.benchmarks.contenders import Work, jax_training, step_parts, torch_training
from experiments.cli.command_line import computing, parse
from experiments.cli.console import console
from experiments.families.ram import RamExperiment
from experiments.output.json_files import write_json
from experiments.training import provenance
from experiments.training.config import DataConfig, TrainingConfig
from ram.config import AgentConfig, RamConfig

TRAINING = ("jax", "torch", "torch_tuned")
# The other programs are short and steady: the fraction of a turn's seconds that each is timed for.
SHORT_TURN = 0.1
# Load average of the last minute above which the machine counts as busy.
BUSY = 1.0


@dataclass(frozen=True)
class SpeedConfig:
    """The training runs to measure, and how."""

    task: str = "cluttered100"
    """Task made from MNIST: mnist28, translated60, cluttered60, cluttered100 or augmented100."""
    batch_size: Annotated[int, Range(1)] = 128
    """Images B in a batch."""
    replicates: Annotated[tuple[int, ...], Range(1)] = (1, 10)
    """Numbers M of replicates of each image; each is measured. Rates are in episodes per second, B * M in a step; with
    M = 1 these are images per second."""
    glimpse_size: int = 12
    """Side G of each scale's patch, in cells."""
    num_scales: int = 4
    """Number K of scales."""
    num_glimpses: int = 8
    """Number T of glimpses of an episode."""
    core_hidden: int = 256
    """Units of the LSTM."""
    seconds: Annotated[float, Range(above=0)] = 10.0
    """Least seconds of a turn; only whole chunks of steps are timed."""
    rounds: Annotated[int, Range(1)] = 3
    """Rounds, in each of which JAX and PyTorch take a turn; the median over rounds is reported."""
    chunk_steps: Annotated[int, Range(1)] = 100
    """Training steps in one compiled call of JAX; `experiments.ram` has 100."""
    pool: Annotated[int, Range(1)] = 8192
    """Images made in advance for PyTorch."""
    product_size: Annotated[int, Range(1)] = 1024
    """Side of square float32 matrices; the arithmetic of training is compared with the rate of their products."""
    torch: bool = True
    """Measure PyTorch, an extra (pip install '.[benchmark]'); with --no-torch JAX alone."""
    output: Path | None = None
    """JSON file for the results of every round, overwritten; without it only the table is printed."""


def check_speed(config: SpeedConfig) -> None:
    """Check the settings that the training run does not check, before anything is measured.

    Raises:
      ValueError: a bad configuration.
    """
    check_ranges(config)
    if config.task not in TASKS or config.task == "images":
        find_task(config.task)  # Raises with a suggestion for a misspelt name.
        raise ValueError(f"task {config.task!r}: must be one made from MNIST")
    check_values("replicates", config.replicates)
    if config.torch and config.num_glimpses < 2:
        raise ValueError(f"num_glimpses {config.num_glimpses}: PyTorch is compared with at least 2")
    check_output("output", config.output)


def busy_warning(load: float, compared: bool) -> str:
    """Format the warning about a busy machine.

    Args:
      load: load average of the last minute before the benchmark.
      compared: whether PyTorch is measured too.
    """
    consequence = "the ratio flatters JAX" if compared else "the rates are too low"
    return f"the machine is busy (load {load:.1f}): measure again when it is idle; until then {consequence}"


def make_experiment(config: SpeedConfig, replicates: int) -> RamExperiment:
    """Make the training run to measure: RAM's hybrid loss, Adam at a constant rate, clipped gradients."""
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
    """Measure units of work per second, over enough calls to take at least ``seconds``."""
    start, units, elapsed = time.perf_counter(), 0.0, 0.0
    while elapsed < seconds:
        units += work()
        elapsed = time.perf_counter() - start
    return units / elapsed


def take_turns(contenders: dict[str, Work], config: SpeedConfig, title: str) -> dict[str, list[float]]:
    """Warm up each program, then measure all of them in every round.

    Returns:
      The rate of each program in every round, in units per second.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive) as bar:
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


def summarise(rates: dict[str, list[float]], batch: int, flops: int) -> dict[str, Any]:
    """Summarise the measurements with one number of replicates.

    Args:
      rates: rates by round: ``jax`` and, if measured, ``torch`` and ``torch_tuned`` in episodes per second; ``product``
        in floating-point operations per second; ``images`` and ``sensor`` in steps per second.
      batch: episodes in a step, B * M.
      flops: operations of a step (`experiments.evaluation.operations`).

    Returns:
      Rates, and fractions of JAX's training step; ``ratio`` is the median of JAX divided by that of PyTorch,
      ``ratio_tuned`` the same with the tuned retina.
    """
    median = {name: statistics.median(values) for name, values in rates.items()}
    rounded = {name: {"median": median[name], "rounds": rates[name]} for name in rates}
    step = batch / median["jax"]
    summary: dict[str, Any] = {
        "episodes_per_second": {name: rounded[name] for name in TRAINING if name in rates},
        "step_seconds": step,
        "step_flops": flops,
        "product_flops_per_second": rounded["product"],
        "arithmetic_share_of_product_rate": flops / step / median["product"],
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
    """Measure all programs with each number of replicates.

    Returns:
      The results, as written to the JSON file.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
      ModuleNotFoundError: PyTorch is to be measured and is not installed.
    """
    check_speed(config)
    if config.torch:
        # Fail early if PyTorch is missing.
        importlib.import_module("experiments.benchmarks.torch_ram")
    load = os.getloadavg()[0]
    if load > BUSY:
        console.print(busy_warning(load, config.torch), style="yellow", soft_wrap=True)
    console.print(f"loading {config.task}; {provenance.device()}")
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
        "results": results,
    }


def make_table(record: dict[str, Any]) -> Table:
    """Format the results of `measure` as a table with a column for each number of replicates."""
    settings, results = record["settings"], record["results"]
    title = f"{settings['task']}, batch {settings['batch_size']}, medians of {settings['rounds']} rounds"
    facts = [record["device"]]
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
    speeds = (result["step_flops"] / result["step_seconds"] / 1e9 for result in results)
    table.add_row("  its arithmetic", *(f"{speed:,.0f} GFLOP/s" for speed in speeds))
    products = (result["product_flops_per_second"]["median"] / 1e9 for result in results)
    table.add_row("  matrix products on this machine", *(f"{speed:,.0f} GFLOP/s" for speed in products))
    shares = (result["arithmetic_share_of_product_rate"] for result in results)
    table.add_row("  arithmetic / matrix products", *(f"{share:.0%}" for share in shares))
    for name in ("sensor", "images"):
        table.add_row(
            f"  {name}, fraction of the step", *(f"{result[f'{name}_share_of_step']:.1%}" for result in results)
        )
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    description = "Measures how fast RAM trains: JAX and PyTorch in turn, on this machine."
    config = parse(SpeedConfig, "python -m experiments.benchmarks.training_speed", args, description)
    with computing("interrupted; nothing was written", ValueError, OSError, ModuleNotFoundError):
        record = measure(config)
        if config.output is not None:
            write_json(config.output, record)
    Console().print(make_table(record))


if __name__ == "__main__":
    main()
