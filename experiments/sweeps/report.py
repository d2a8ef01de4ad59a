"""What is made of a sweep when it ends: its tables, its differences, its figures and its page."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.plots_style import save_figure
from experiments.report_sections import duration
from experiments.run_directory import read_metrics
from experiments.sweeps import page
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.figures import error_against, heat_map, label, sweep_curves
from experiments.sweeps.outcomes import (
    DIFFERENCES,
    Setting,
    group_settings,
    read_outcomes,
    write_csv,
    write_tables,
)
from experiments.sweeps.statistics import Difference, best_setting, mean_interval, paired_differences
from experiments.sweeps.study import Plan

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
    target = sweep / "report.html"
    pictures = draw(sweep, plan, settings)
    varied = [(" and ".join(d.names), ", ".join(" and ".join(map(str, v)) for v in d.values)) for d in plan.dimensions]
    facts = [("model", plan.study.model), ("preset", plan.study.preset), *varied]
    facts += [(name, str(value)) for name, value in plan.overrides.items()]
    facts += [("seeds", ", ".join(map(str, plan.seeds)))]
    facts += [("cells", f"{len(outcomes)} of {len(plan.cells)} finished, {len(failures)} failed")]
    facts += [("time of all cells", duration(sum((outcome.results["wall_seconds"] for outcome in outcomes), 0.0)))]
    parts: list[page.Table | page.Picture] = [_settings_table(plan, settings), *pictures]
    if differences:
        parts.append(_differences_table(plan, settings, differences))
    parts.append(_cells_table(sweep, plan, settings, dict((cell.id, why) for cell, why in failures), target))
    return page.write_page(target, f"Ablation of {plan.study.model} on {plan.study.preset}", facts, parts)


def draw(sweep: Path, plan: Plan, settings: Sequence[Setting]) -> list[page.Picture]:
    """Draws the figures into ``figures/*.png``."""
    dimensions = plan.dimensions
    pictures = []

    def add(heading: str, caption: str, figure: Figure, file: str) -> None:
        path = save_figure(figure, sweep / "figures" / f"{file}.png")
        pictures.append(page.Picture(heading, caption, path.read_bytes()))

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
    return pictures


def _name(plan: Plan, setting: Setting) -> str:
    return label(plan.names, setting.values) or plan.study.preset


def _write_differences(path: Path, plan: Plan, settings: Sequence[Setting], differences: Sequence[Difference]) -> None:
    header = ["first", "second", "second_minus_first", "low", "high", "seeds"]
    rows = [[_name(plan, settings[d.first]), _name(plan, settings[d.second]), *d.interval] for d in differences]
    write_csv(path, [header, *rows])


def _axes(plan: Plan, setting: Setting) -> list[page.Entry]:
    return [page.Entry(str(value)) for value in setting.values]


def _settings_table(plan: Plan, settings: Sequence[Setting]) -> page.Table:
    columns = [*plan.names, "test error", "low", "high", "validation error", "seeds"]
    rows = []
    for setting in settings:
        test, validation = (mean_interval(list(setting.by_seed(s).values())) for s in ("test", "validation"))
        nothing = page.number(float("nan"))
        numbers = [page.number(x) for x in test[:3]] if test else [nothing] * 3
        numbers.append(page.number(validation.mean) if validation else nothing)
        rows.append([*_axes(plan, setting), *numbers, page.Entry(str(len(setting.outcomes)))])
    caption = "Error in per cent: mean over seeds, and the 95% t interval of the mean test error."
    return page.Table("Settings", caption, columns, rows)


def _differences_table(plan: Plan, settings: Sequence[Setting], differences: Sequence[Difference]) -> page.Table:
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
        names = [page.Entry(_name(plan, settings[index])) for index in (difference.first, difference.second)]
        rows.append([*names, *map(page.number, difference.interval[:3]), page.Entry(str(difference.interval.n))])
    return page.Table("Paired differences", caption, ["first", "second", "difference", "low", "high", "seeds"], rows)


def _cells_table(
    sweep: Path, plan: Plan, settings: Sequence[Setting], failures: dict[str, str], target: Path
) -> page.Table:
    columns = [*plan.names, "seed", "test error", "validation error", "parameters", "minutes", "run"]
    rows = []
    for setting in settings:
        done = {outcome.cell.id: outcome for outcome in setting.outcomes}
        for cell in setting.cells:
            row = [*_axes(plan, setting), page.Entry(str(cell.seed))]
            if cell.id in done:
                results = done[cell.id].results
                row += [page.number(done[cell.id].error(split)) for split in ("test", "validation")]
                row += [page.Entry(f"{results['parameters']:,}", float(results["parameters"]))]
                row += [page.number(results["wall_seconds"] / 60, 1)]
            else:
                row += [page.number(float("nan"))] * 4
            folder = cell_folder(sweep, cell)
            place = folder / "report.html" if (folder / "report.html").is_file() else folder
            said = f"{cell.id}: {failures[cell.id]}" if cell.id in failures else cell.id
            row.append(page.Entry(said, link=page.link_to(place, target) if folder.is_dir() else ""))
            rows.append(row)
    return page.Table("Cells", "Every cell, with the folder of its run.", columns, rows)
