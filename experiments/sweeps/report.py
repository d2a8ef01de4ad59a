"""What is made of a sweep when it ends: its tables, its differences, its figures and its page."""

import itertools
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from experiments.plots.style import save_figure, write_bytes
from experiments.reports.page import Section, fact_list, page, picture
from experiments.reports.sections import duration
from experiments.reports.table import SCRIPT, Link, Number, sortable_table
from experiments.reports.table import Cell as Entry
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.figures import error_against, heat_map, label, positions, sweep_curves
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
from experiments.training.run_directory import read_metrics

MOST_PAIRS = 300


def write_report(sweep: Path, plan: Plan, failures: Sequence[tuple[Cell, str]]) -> Path:
    """Writes ``results.csv``, ``times.csv``, ``differences.csv``, ``figures/*.png`` and ``report.html``.

    Args:
      sweep: the folder.
      plan: what was asked for.
      failures: cells that failed, and why.

    Returns:
      The path of the page.
    """
    outcomes = read_outcomes(sweep, plan)
    write_tables(sweep, plan, outcomes)
    settings = group_settings(plan, outcomes)
    differences = paired_differences(settings)
    _write_differences(sweep / DIFFERENCES, plan, settings, differences)
    sections = [
        Section("means", "Settings", _settings_table(plan, settings)),
        Section("figures", "Figures", draw(sweep, plan, settings)),
    ]
    if differences:
        sections.append(Section("paired", "Paired differences", _differences_table(plan, settings, differences)))
    failed = {cell.id: why for cell, why in failures}
    sections.append(Section("runs", "Cells", _cells_table(sweep, plan, settings, failed)))
    title = f"Ablation of {plan.study.family} on {plan.study.preset}"
    text = page(title, sweep.resolve().name, _facts(plan, outcomes, failed), sections, [SCRIPT])
    return write_bytes(sweep / "report.html", text.encode())


def _facts(plan: Plan, outcomes: Sequence[Outcome], failures: dict[str, str]) -> str:
    varied = [(" and ".join(d.names), ", ".join(" and ".join(map(str, v)) for v in d.values)) for d in plan.dimensions]
    fixed = [(name, str(value)) for name, value in plan.overrides.items()]
    return fact_list(
        [
            ("family", plan.study.family),
            ("preset", plan.study.preset),
            *varied,
            *fixed,
            ("seeds", ", ".join(map(str, plan.seeds))),
            ("cells", f"{len(outcomes)} of {len(plan.cells)} finished, {len(failures)} failed"),
            ("time of all cells", duration(sum((outcome.results["wall_seconds"] for outcome in outcomes), 0.0))),
        ]
    )


def draw(sweep: Path, plan: Plan, settings: Sequence[Setting]) -> str:
    """Draws the figures into ``figures/*.png``, and returns them as HTML with their headings and captions."""
    dimensions = plan.dimensions
    pieces = []

    def add(heading: str, caption: str, figure: Figure, file: str) -> None:
        path = save_figure(figure, sweep / "figures" / f"{file}.png")
        pieces.append(f"<h3>{escape(heading)}</h3>{picture(path.read_bytes(), f'{heading}. {caption}', caption)}")

    for index, dimension in enumerate(dimensions):
        heading = f"Error against {' and '.join(dimension.names)}"
        caption = "Test error in per cent: mean over seeds, with its 95% t interval; dots are single seeds."
        figure = error_against(dimensions, settings, index)
        add(heading, caption, figure, f"error_{'_'.join(dimension.names)}")
    for rows, columns in itertools.combinations(range(len(dimensions)), 2):
        names = [" and ".join(dimensions[index].names) for index in (rows, columns)]
        caption = "Mean test error in per cent over seeds" + (" and all other axes." if len(dimensions) > 2 else ".")
        figure = heat_map(dimensions, settings, rows, columns)
        file = "_".join([*dimensions[rows].names, *dimensions[columns].names])
        add(f"{names[0]} by {names[1]}", caption, figure, f"heat_map_{file}")
    curves = [(setting, [read_metrics(cell_folder(sweep, cell)) for cell in setting.cells]) for setting in settings]
    caption = "Validation error in per cent over training: mean over seeds, and each seed thinly."
    add("Learning curves", caption, sweep_curves(plan.names, curves), "learning_curves")
    return "".join(pieces)


def _name(plan: Plan, setting: Setting) -> str:
    return label(plan.names, setting.values) or plan.study.preset


def _write_differences(path: Path, plan: Plan, settings: Sequence[Setting], differences: Sequence[Difference]) -> None:
    header = ["first", "second", "second_minus_first", "low", "high", "seeds"]
    rows = [[_name(plan, settings[d.first]), _name(plan, settings[d.second]), *d.interval] for d in differences]
    write_csv(path, [header, *rows])


def _axes(plan: Plan, setting: Setting) -> list[Entry]:
    """The values of a setting, which are sorted as they stand on the axes of the figures."""
    columns = [values for dimension in plan.dimensions for values in zip(*dimension.values, strict=True)]
    entries: list[Entry] = []
    for value, values in zip(setting.values, columns, strict=True):
        places, by_size = positions(values)
        entries.append(Number(places[values.index(value)], str(value)) if by_size else str(value))
    return entries


def _number(value: float, digits: int = 2) -> Number | None:
    """A number to so many digits, which is sorted by all of them."""
    return None if math.isnan(value) else Number(value, f"{value:.{digits}f}")


def _settings_table(plan: Plan, settings: Sequence[Setting]) -> str:
    header = [*plan.names, "test error", "low", "high", "validation error", "seeds"]
    rows = []
    for setting in settings:
        test, validation = (mean_interval(list(setting.by_seed(s).values())) for s in ("test", "validation"))
        errors = [*(test[:3] if test else [math.nan] * 3), validation.mean if validation else math.nan]
        rows.append([*_axes(plan, setting), *map(_number, errors), len(setting.outcomes)])
    caption = "Error in per cent: mean over seeds, and the 95% t interval of the mean test error."
    return sortable_table("means-table", caption, header, rows)


def _differences_table(plan: Plan, settings: Sequence[Setting], differences: Sequence[Difference]) -> str:
    best = best_setting(settings)
    caption = (
        "Test error of the second setting less that of the first, in percentage points, paired over seeds, with its "
        "95% t interval. The intervals are of one comparison each, not of all at once."
    )
    if len(differences) > MOST_PAIRS:
        differences = [d for d in differences if best in (d.first, d.second)]
        caption += f" Against the setting with the lowest validation error; all pairs are in {DIFFERENCES}."
    rows = []
    for difference in differences:
        names = [_name(plan, settings[index]) for index in (difference.first, difference.second)]
        rows.append([*names, *map(_number, difference.interval[:3]), difference.interval.n])
    return sortable_table("paired-table", caption, ["first", "second", "difference", "low", "high", "seeds"], rows)


def _cells_table(sweep: Path, plan: Plan, settings: Sequence[Setting], failures: dict[str, str]) -> str:
    header = [*plan.names, "seed", "test error", "validation error", "parameters", "minutes", "run"]
    rows = []
    for setting in settings:
        done = {outcome.cell.id: outcome for outcome in setting.outcomes}
        for cell in setting.cells:
            row = [*_axes(plan, setting), cell.seed]
            if cell.id in done:
                results = done[cell.id].results
                row += [_number(done[cell.id].error(split)) for split in ("test", "validation")]
                row += [Number(results["parameters"], f"{results['parameters']:,}")]
                row += [_number(results["wall_seconds"] / 60, 1)]
            else:
                row += [None] * 4
            folder = cell_folder(sweep, cell)
            place = folder / "report.html" if (folder / "report.html").is_file() else folder
            said = f"{cell.id}: {failures[cell.id]}" if cell.id in failures else cell.id
            row.append(Link(said, place.relative_to(sweep)) if folder.is_dir() else said)
            rows.append(row)
    return sortable_table("runs-table", "Every cell, with the folder of its run.", header, rows)
