"""Reproduce the tables of the papers: ``python -m experiments.reproduce TABLE [flags]``.

The rows are in ``results/PAPER/paper.toml``. Each row that has a ``command`` is a sweep over seeds. When it has
finished, the ``results.json`` of each seed, with the cost of a prediction, is stored as ``results/PAPER/RUN.json``
(seed 0) or ``RUN-seedN.json``, and the pages of results are written anew.
"""

import dataclasses
import functools
import re
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Column, Table

from common.checks import Range, check_ranges
from common.names import check_name
from experiments.cli.command_line import interruptible, parse, python_command, user_errors
from experiments.cli.console import print_line
from experiments.output.json_files import read_json, write_json
from experiments.output.text import duration
from experiments.reports.results_pages import PAPER, write_pages
from experiments.reports.stored_runs import planned_study, read_stored, trained_as
from experiments.runs.cost import Cost, cost_of, cost_record
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.driver import run_sweep, use_cpu
from experiments.sweeps.options import Options, check_options
from experiments.sweeps.study import Study, make_plan
from experiments.training.config import load_blank

RESULTS = Path("results")
# A quick run has this fraction of the steps of a row.
QUICK = 100
# The exit status of a sweep after Ctrl-C.
STOPPED = 130


@dataclass(frozen=True)
class Reproduction:
    """Run the rows of a paper's table, store their results and write the pages of results.

    TABLE is a folder of results, such as mnih2014, or one of its tables, such as mnih2014/cluttered60. Rows that are
    stored with today's configuration are not run again. The same command resumes what was stopped or killed.
    """

    table: Annotated[str, tyro.conf.Positional]
    """Folder of results, or FOLDER/TABLE."""
    rows: tuple[str, ...] = ()
    """Only rows whose run or model contains one of these texts; by default all rows that have a command."""
    seeds: Annotated[int, Range(1)] = 1
    """Seeds of each row, counted from 0."""
    budget: Literal["quick", "full"] = "full"
    """full: the steps of each row. quick: a hundredth of them, to try the commands; nothing is stored."""
    launcher: Literal["local", "ray"] = "local"
    """Launcher of the runs: local, one after another on this machine; ray, a Ray cluster."""
    gpus: Annotated[float, Range(0)] = 0.0
    """GPUs that Ray reserves for a run; with 0.5 two runs share one."""
    ray_address: str | None = None
    """Address of the Ray cluster, HOST:PORT; by default Ray starts a cluster of this machine alone."""
    dry_run: bool = False
    """List the runs and what is stored, and stop."""


@dataclass(frozen=True)
class Row:
    """One row of a table that can be run.

    Attributes:
      folder: of results.
      run: the name of its files.
      model: as the paper's table calls it.
      command: its family, preset and flags.
      study: its sweep over seeds.
    """

    folder: str
    run: str
    model: str
    command: str
    study: Study

    @functools.cached_property
    def cells(self) -> Sequence[Cell]:
        """Return its cells, one for each seed."""
        return make_plan(self.study).cells

    @functools.cached_property
    def cost(self) -> Cost:
        """Return the cost of a prediction of its model."""
        cell = self.cells[0]
        return cost_of(self.run, cell.family, cell.config, load_blank(cell.config.data))

    def file(self, seed: int) -> Path:
        """Return the file in which the result of a seed is stored."""
        return RESULTS / self.folder / (f"{self.run}-seed{seed}.json" if seed else f"{self.run}.json")

    def is_stored(self, cell: Cell) -> bool:
        """Return True if the result of a cell is stored, with the same configuration but for what was recorded."""
        path = self.file(cell.seed)
        return path.exists() and trained_as(read_stored(path)) == trained_as(cell.identity())


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Reproduction, "python -m experiments.reproduce", args)
    with interruptible("stopped; the same command resumes"), user_errors():
        check_ranges(config)
        options = check_options(Options(launcher=config.launcher, gpus=config.gpus, ray_address=config.ray_address))
        rows = find_rows(config)
        if config.dry_run:
            list_rows(rows)
            return
        status, work, begun = 0, [missing_work(row, config) for row in rows], time.monotonic()
        for number, row in enumerate(rows, 1):
            status = max(status, reproduce(row, config, options, args))
            if status == STOPPED:
                break
            if done := sum(work[:number]):
                left = (time.monotonic() - begun) * sum(work[number:]) / done
                print_line(f"{number} of {len(rows)} rows; about {duration(left)} left")
    if status:
        sys.exit(status)


def find_rows(config: Reproduction) -> list[Row]:
    """Return the rows that a configuration names, in the order of the tables; each run once.

    Raises:
      ValueError: there is no such table, or no row of it fits.
    """
    if not RESULTS.is_dir():
        raise ValueError(f"folder {str(RESULTS)!r} not found: run this command in the root of the repository")
    folder, _, name = config.table.partition("/")
    check_name("table", folder, [path.parent.name for path in sorted(RESULTS.glob(f"*/{PAPER}"))])
    tables = tomllib.loads((RESULTS / folder / PAPER).read_text())["tables"]
    if name:
        check_name("table", name, tables)
    rows: dict[str, Row] = {}
    chosen = [tables[name]] if name else tables.values()
    entries = [entry | {"title": table["title"]} for table in chosen for entry in table["rows"]]
    for entry in entries:
        wanted = any(text in entry["model"] or text in entry.get("run", "") for text in config.rows or ("",))
        if "command" in entry and wanted and entry["run"] not in rows:
            model = f"{entry['title']}: {entry['model']}"
            rows[entry["run"]] = Row(folder, entry["run"], model, entry["command"], row_study(entry, config))
    if not rows:
        texts = " ".join(config.rows)
        names = ", ".join(entry["run"] for entry in entries if "command" in entry)
        raise ValueError(f"rows {texts!r}: no row of {config.table} contains one of these; its runs are {names}")
    return list(rows.values())


def row_study(entry: Mapping[str, Any], config: Reproduction) -> Study:
    """Return the sweep over seeds of a row of `paper.toml`.

    Raises:
      ValueError: its command is no command of a family.
    """
    study = dataclasses.replace(planned_study(entry["command"]), seeds=config.seeds, name=entry["run"])
    if config.budget == "full":
        return study
    (cell, *_) = make_plan(study).cells
    steps = max(cell.config.training.steps // QUICK, 1)
    quick = {"steps": steps, "evaluate_every": steps, "warmup_steps": 0}
    kept = {name: values for name, values in study.axes.items() if name.replace("-", "_") not in quick}
    return dataclasses.replace(study, axes=kept, overrides={**study.overrides, **quick})


def missing_seeds(row: Row, config: Reproduction) -> list[int]:
    """Return the seeds of a row that are to be run: all of a quick run, else those that are not stored."""
    return [cell.seed for cell in row.cells if config.budget == "quick" or not row.is_stored(cell)]


def sweep_folder(row: Row, config: Reproduction) -> Path:
    """Return the folder of the sweep over the seeds of a row."""
    return Path("runs") / f"reproduce-{config.budget}" / row.folder / row.run


def missing_work(row: Row, config: Reproduction) -> int:
    """Return the operations of the forward passes of the seeds that have not finished, to estimate the time left."""
    missing, folder = missing_seeds(row, config), sweep_folder(row, config)
    seeds = [cell.seed for cell in row.cells if cell.seed in missing and read_results(folder, cell) is None]
    if not seeds:
        return 0
    training = row.cells[0].config.training
    return len(seeds) * training.steps * training.batch_size * row.cost.flops


def list_rows(rows: Sequence[Row]) -> None:
    """Print the rows with their commands and what is stored of them."""
    table = Table("run", "row", Column("command", overflow="fold"), "images", "seeds stored")
    for row in rows:
        training = row.cells[0].config.training
        images = f"{training.steps * training.batch_size / 1e6:.2f} M"
        table.add_row(
            row.run, row.model, row.command, images, f"{sum(map(row.is_stored, row.cells))} of {len(row.cells)}"
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def remove_others(row: Row) -> None:
    """Remove the stored results of a row that have another configuration: seeds are averaged with their like alone."""
    (planned, *_) = row.cells
    for path in sorted((RESULTS / row.folder).glob(f"{row.run}*.json")):
        is_of_row = re.fullmatch(rf"{re.escape(row.run)}(-seed\d+)?", path.stem)
        if is_of_row and trained_as(read_stored(path)) != trained_as(planned.identity()):
            path.unlink()
            print_line(f"removed, since its configuration is not that of the row: {path}")


def reproduce(row: Row, config: Reproduction, options: Options, args: Sequence[str]) -> int:
    """Run the seeds of a row that are not stored, store their results and write the pages.

    Returns:
      The exit status of the sweep (see `experiments.sweeps.driver.run_sweep`).
    """
    missing, seeds = missing_seeds(row, config), config.seeds
    if config.budget == "full":
        print_line(f"{row.model} ({row.run}): {seeds - len(missing)} of {seeds} seeds are stored")
        if not missing:
            return 0
    folder = sweep_folder(row, config)
    study, options = dataclasses.replace(row.study, seeds=missing), dataclasses.replace(options, sweep_dir=folder)
    status = run_sweep(study, options, python_command("-m", "experiments.reproduce", *args))
    if config.budget == "full":
        for cell in row.cells:
            results = cell_folder(folder, cell) / "results.json"
            if cell.seed in missing and results.exists():
                remove_others(row)
                write_json(row.file(cell.seed), read_json(results) | {"cost": cost_record(row.cost)})
                print_line(f"stored: {row.file(cell.seed)}")
        write_pages(RESULTS)
    return status


if __name__ == "__main__":
    use_cpu()
    main()
