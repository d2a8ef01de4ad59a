"""The results of a sweep's cells, as rows and as CSV files whose bytes do not depend on how the sweep was run."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.output.files import write_bytes
from experiments.output.readouts import READOUTS
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import read_results
from experiments.sweeps.study import Plan

RESULTS, TIMES, DIFFERENCES = "results.csv", "times.csv", "differences.csv"


class Outcome(NamedTuple):
    """A finished cell: its values in the fields that vary, and its `results.json`."""

    cell: Cell
    values: tuple[Any, ...]
    results: dict[str, Any]

    def error(self, split: str = "test", readout: str = "average_probability") -> float:
        """Return the error in per cent by a read-out, or the greedy one where nothing is sampled."""
        errors = self.results[split]
        return float(errors.get(readout, errors["greedy"])["error"])


class Setting(NamedTuple):
    """A setting: its values, the cells of all its seeds, and the outcomes of the finished ones, in the plan's order."""

    values: tuple[Any, ...]
    cells: tuple[Cell, ...]
    outcomes: tuple[Outcome, ...]

    def by_seed(self, split: str = "test", readout: str = "average_probability") -> dict[int, float]:
        """Return errors in per cent by seed."""
        return {outcome.cell.seed: outcome.error(split, readout) for outcome in self.outcomes}


def read_outcomes(sweep: Path, plan: Plan) -> list[Outcome]:
    """Read the finished cells of a plan, in its order."""
    outcomes = (read_outcome(sweep, plan, cell) for cell in plan.cells)
    return [outcome for outcome in outcomes if outcome]


def read_outcome(sweep: Path, plan: Plan, cell: Cell) -> Outcome | None:
    """Read a cell of a plan; None if it is not finished."""
    results = read_results(sweep, cell)
    return None if results is None else Outcome(cell, plan.values(cell), results)


def group_settings(plan: Plan, outcomes: Iterable[Outcome]) -> list[Setting]:
    """Group outcomes into the settings of a plan, in its order."""
    cells: dict[str, list[Cell]] = {}
    finished: dict[str, list[Outcome]] = {}
    for cell in plan.cells:
        cells.setdefault(cell.setting, []).append(cell)
    for outcome in outcomes:
        finished.setdefault(outcome.cell.setting, []).append(outcome)
    return [Setting(plan.values(of[0]), tuple(of), tuple(finished.get(setting, []))) for setting, of in cells.items()]


def results_rows(plan: Plan, outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Return header and rows of `results.csv`: what can be repeated to the last digit, so no times and no devices."""
    readouts = [name for name in READOUTS if any(name in outcome.results["test"] for outcome in outcomes)]
    columns = [
        (split, name, part)
        for split in ("test", "validation")
        for name in readouts
        for part in ("error", "low", "high")
    ]
    header = [*plan.names, "seed", "cell", "steps", "episodes", "parameters"]
    rows: list[list[Any]] = [[*header, *("_".join(column) for column in columns)]]
    for outcome in outcomes:
        results = outcome.results
        errors = [results[split].get(name, {}).get(part, "") for split, name, part in columns]
        facts = [results["steps"], results["episodes"], results["parameters"]]
        rows.append([*outcome.values, outcome.cell.seed, outcome.cell.id, *facts, *errors])
    return rows


def times_rows(plan: Plan, outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Return header and rows of `times.csv`: what differs from machine to machine."""
    keys = ("wall_seconds", "device", "jax_version", "commit")
    rows: list[list[Any]] = [[*plan.names, "seed", "cell", *keys]]
    for outcome in outcomes:
        facts = [outcome.results.get(key) for key in keys]
        rows.append([*outcome.values, outcome.cell.seed, outcome.cell.id, *facts])
    return rows


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> Path:
    """Write rows as CSV, atomically (see `csv_text`)."""
    return write_bytes(path, csv_text(rows).encode())


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV: None as `None`, since a field may be None, and numbers with all their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([str(value) for value in row] for row in rows)
    return text.getvalue()


def write_tables(sweep: Path, plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Write `results.csv` and `times.csv`."""
    write_csv(sweep / RESULTS, results_rows(plan, outcomes))
    write_csv(sweep / TIMES, times_rows(plan, outcomes))
