"""The outputs of a finished sweep: its tables, its differences, its figures and its page."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.output.files import write_bytes
from experiments.output.text import duration
from experiments.pages.page import Figure, embed_picture, render_page
from experiments.pages.table import SCRIPT, Entry, Link, Number, Table, sortable_table
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.labels import label, positions
from experiments.sweeps.outcomes import (
    DIFFERENCES,
    Outcome,
    Setting,
    group_settings,
    read_outcomes,
    write_csv,
    write_tables,
)
from experiments.sweeps.statistics import Difference, best_setting, mean_interval, paired_differences
from experiments.sweeps.study import Plan
from experiments.training.metrics_file import read_metrics

if TYPE_CHECKING:
    from experiments.plots.pictures import Drawing

MOST_PAIRS = 300
SECTIONS = {"means": "Settings", "figures": "Figures", "paired": "Paired differences", "runs": "Cells"}


def write_report(sweep: Path, plan: Plan, failures: Sequence[tuple[Cell, str]]) -> Path:
    """Write `results.csv`, `times.csv`, `differences.csv`, `figures/*.png` and `report.html`.

    Args:
      sweep: the folder of the sweep.
      plan: the settings and seeds.
      failures: the cells that failed, with the reasons.

    Returns:
      The path of the page.
    """
    outcomes = read_outcomes(sweep, plan)
    write_tables(sweep, plan, outcomes)
    settings = group_settings(plan, outcomes)
    differences = paired_differences(settings)
    names = [_name(plan, setting) for setting in settings]
    write_csv(sweep / DIFFERENCES, difference_rows(names, differences))
    reasons = {cell.id: reason for cell, reason in failures}
    text = render_page(
        "sweep.html",
        f"Ablation of {plan.study.family} on {plan.study.preset}",
        sweep.resolve().name,
        {name: heading for name, heading in SECTIONS.items() if differences or name != "paired"},
        [SCRIPT],
        facts=_facts(plan, outcomes, reasons),
        one_seed=any(setting.outcomes for setting in settings) and all(len(s.outcomes) < 2 for s in settings),
        means=_means_table(plan, settings),
        figures=draw(sweep, plan, settings),
        differences=_differences_table(names, settings, differences) if differences else None,
        cells=_cells_table(sweep, plan, settings, reasons),
    )
    return write_bytes(sweep / "report.html", text.encode())


def difference_rows(names: Sequence[str], differences: Sequence[Difference]) -> list[list[object]]:
    """Return header and rows of `differences.csv`; ends of an interval that does not exist are empty."""
    rows: list[list[object]] = [["first", "second", "second_minus_first", "low", "high", "seeds"]]
    for first, second, interval in differences:
        numbers = ["" if math.isnan(number) else number for number in interval[:3]]
        rows.append([names[first], names[second], *numbers, interval.n])
    return rows


def draw(sweep: Path, plan: Plan, settings: Sequence[Setting]) -> list[Figure]:
    """Draw the figures into `figures/*.png`, and return embedded those that can be drawn."""
    from experiments.plots.pictures import draw_picture  # Drawing is loaded where a sweep ends, not to plan one.

    figures = []
    for heading, caption, drawing, name in _drawings(sweep, plan, settings):
        path = draw_picture(sweep / "figures" / f"{name}.png", drawing)
        if path is not None:
            figures.append(Figure(heading, caption, embed_picture(path.read_bytes())))
    return figures


def _drawings(sweep: Path, plan: Plan, settings: Sequence[Setting]) -> Iterator[tuple[str, str, "Drawing", str]]:
    """Yield heading, caption, drawing and file name of each figure."""
    from experiments.sweeps.figures import error_against, heat_map, sweep_curves

    axes = plan.axes
    for index, axis in enumerate(axes):
        caption = (
            "Test error in per cent: the mean over seeds with its 95% interval, and beside it each seed as a point. "
            "Intervals that leave the frame are cut; the table has their ends. One seed has no interval."
        )
        figure = functools.partial(error_against, axes, settings, index)
        yield f"Error against {' and '.join(axis.names)}", caption, figure, f"error_{'_'.join(axis.names)}"
    for rows, columns in itertools.combinations(range(len(axes)), 2):
        names = [" and ".join(axes[index].names) for index in (rows, columns)]
        caption = "Mean test error in per cent over seeds" + (
            " and all other axes." if len(axes) > 2 else ", and below it each seed."
        )
        file = "_".join([*axes[rows].names, *axes[columns].names])
        figure = functools.partial(heat_map, axes, settings, rows, columns)
        yield f"{names[0]} by {names[1]}", caption, figure, f"heat_map_{file}"
    curves = [(setting, [read_metrics(cell_folder(sweep, cell)) for cell in setting.cells]) for setting in settings]
    caption = "Validation error in per cent over training: the mean over seeds, and each seed as a thin line."
    yield "Learning curves", caption, functools.partial(sweep_curves, plan.names, curves), "learning_curves"


def _facts(plan: Plan, outcomes: Sequence[Outcome], failures: dict[str, str]) -> list[tuple[str, str]]:
    varied = [
        (" and ".join(axis.names), ", ".join(" and ".join(map(str, v)) for v in axis.values)) for axis in plan.axes
    ]
    fixed = [(name, str(value)) for name, value in plan.overrides.items()]
    return [
        ("family", plan.study.family),
        ("preset", plan.study.preset),
        *varied,
        *fixed,
        ("seeds", ", ".join(map(str, plan.seeds))),
        ("cells", f"{len(outcomes)} of {len(plan.cells)} finished, {len(failures)} failed"),
        ("time of all cells", duration(sum((outcome.results["wall_seconds"] for outcome in outcomes), 0.0))),
    ]


def _name(plan: Plan, setting: Setting) -> str:
    return label(plan.names, setting.values) or plan.study.preset


def _axes(plan: Plan, setting: Setting) -> list[Entry]:
    """Return the values of a setting, sorted as they stand on the axes of the figures."""
    columns = [values for axis in plan.axes for values in zip(*axis.values, strict=True)]
    entries: list[Entry] = []
    for value, values in zip(setting.values, columns, strict=True):
        places, by_size = positions(values)
        entries.append(Number(places[values.index(value)], str(value)) if by_size else str(value))
    return entries


def _number(value: float, digits: int = 2) -> Number | None:
    """Return a number that is shown to so many digits and sorted by all of them; None for NaN."""
    return None if math.isnan(value) else Number(value, f"{value:.{digits}f}")


def _means_table(plan: Plan, settings: Sequence[Setting]) -> Table:
    header = [*plan.names, "test error", "low", "high", "by seed", "validation error", "seeds"]
    rows = []
    for setting in settings:
        seeds = list(setting.by_seed().values())
        test, validation = mean_interval(seeds), mean_interval(list(setting.by_seed("validation").values()))
        errors = map(_number, test[:3] if test else [math.nan] * 3)
        listed = ", ".join(f"{error:.2f}" for error in seeds) or None
        selected = _number(validation.mean if validation else math.nan)
        rows.append([*_axes(plan, setting), *errors, listed, selected, len(seeds)])
    caption = (
        "Error in per cent: the mean over seeds, the 95% interval of the mean test error over seeds (a t interval on "
        "the logit scale, from two seeds on), and the test error of each seed."
    )
    return sortable_table("means-table", caption, header, rows)


def _differences_table(names: Sequence[str], settings: Sequence[Setting], differences: Sequence[Difference]) -> Table:
    best = best_setting(settings)
    caption = (
        "Test error of the second setting minus that of the first, in percentage points, paired over seeds, with its "
        "95% interval from two seeds on. Each interval is of one comparison, not of all at once."
    )
    if len(differences) > MOST_PAIRS:
        differences = [d for d in differences if best in (d.first, d.second)]
        caption += f" Against the setting with the lowest validation error; all pairs are in {DIFFERENCES}."
    rows = [[names[d.first], names[d.second], *map(_number, d.interval[:3]), d.interval.n] for d in differences]
    return sortable_table("paired-table", caption, ["first", "second", "difference", "low", "high", "seeds"], rows)


def _cells_table(sweep: Path, plan: Plan, settings: Sequence[Setting], failures: dict[str, str]) -> Table:
    header = [*plan.names, "seed", "test error", "validation error", "parameters", "minutes", "run"]
    rows = []
    for setting in settings:
        finished = {outcome.cell.id: outcome for outcome in setting.outcomes}
        for cell in setting.cells:
            row = [*_axes(plan, setting), cell.seed]
            if cell.id in finished:
                results = finished[cell.id].results
                row += [_number(finished[cell.id].error(split)) for split in ("test", "validation")]
                row += [Number(results["parameters"], f"{results['parameters']:,}")]
                row += [_number(results["wall_seconds"] / 60, 1)]
            else:
                row += [None] * 4
            folder = cell_folder(sweep, cell)
            target = folder / "report.html" if (folder / "report.html").is_file() else folder
            text = f"{cell.id}: {failures[cell.id]}" if cell.id in failures else cell.id
            row.append(Link(text, target.relative_to(sweep)) if folder.is_dir() else text)
            rows.append(row)
    return sortable_table("runs-table", "Every cell, with the folder of its run.", header, rows)
