"""Markdown tables of stored results, and their cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.output.text import interval_text
from experiments.reports.stored_runs import Group, Measured, errors_of, has_random_locations, is_run_of, measure
from experiments.sweeps.statistics import interquartile_mean

# Number of seeds from which on a table also has their interquartile mean, as Agarwal et al. 2021 advise.
MANY_SEEDS = 5


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a short row ends with empty cells."""
    lines = [header, ["---"] * len(header), *([*row, *[""] * (len(header) - len(row))] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number_text(value: Any) -> str:
    """Return a number or a text of `paper.toml` as text; an empty one for None."""
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def model_name(row: Mapping[str, Any], group: Group | None) -> str:
    """Return the model of a row of `paper.toml`, with its note on ours and on runs of an earlier preset."""
    notes = [row["note"]] if "note" in row else []
    if group and "command" in row and not is_run_of(group.runs[0], row["command"]):
        notes.append("an earlier preset")
    return f"{row['model']} (ours: {', '.join(notes)})" if notes else row["model"]


def error_cells(table: Mapping[str, Any], row: Mapping[str, Any], group: Group) -> tuple[str, str, str]:
    """Return the greedy, one-episode and mean errors of a group, in bold where they reach the published number.

    Networks that sample nothing have the first alone, and random locations have no greedy episode. Of a published range
    the better end counts. Of boxes found, higher is better.
    """
    found = table.get("readout") == "found"
    if "sampled" in group.runs[0]["test"]:
        errors = [measure(group, key) for key in ("greedy", "sampled", "average_probability")]
    else:
        errors = [measure(group, "found" if found else "greedy")]
    published = [float(end) for end in number_text(row.get("paper")).split(" to ") if end]

    def cell(ours: Measured) -> str:
        reached = published and (ours.value >= max(published) if found else ours.value <= min(published))
        return f"**{ours.value:.2f}** [{ours.low:.2f}, {ours.high:.2f}]" if reached else str(ours)

    greedy, sampled, mean = [cell(error) for error in errors] + [""] * (3 - len(errors))
    return ("" if has_random_locations(group.runs[0]) else greedy), sampled, mean


def interquartile_cell(group: Group) -> str:
    """Return the interquartile mean of a group's errors with its interval; an empty text for few seeds."""
    if len(group.runs) < MANY_SEEDS:
        return ""
    return str(interquartile_mean(errors_of(group, "found" if "overlap" in group.runs[0] else "average_probability")))


def prediction_cells(group: Group) -> list[str]:
    """Return values read, their share of the image, multiply-adds and parameters; empty where they are not stored."""
    run = group.runs[0]
    parameters, cost = f"{run['parameters']:,}", run.get("cost")
    if cost is None:
        return ["", "", "", parameters]
    share = f"{100 * cost['values_read'] / cost['image_values']:.0f}%"
    return [f"{cost['values_read']:,}", share, f"{cost['operations'] / 2e6:.2f} M", parameters]


def seeds_cell(group: Group) -> str:
    """Return the number of seeds and the seeds, such as "3 (0, 1, 2)"."""
    return f"{len(group.runs)} ({', '.join(str(run['seed']) for run in group.runs)})"


def readout_cells(run: Mapping[str, Any], readouts: Mapping[str, str]) -> list[str]:
    """Return the error of each read-out of a run with its interval; of a co-localiser also the boxes found."""
    cells = []
    for key in readouts:
        entry = None if key == "greedy" and has_random_locations(run) else run["test"].get(key)
        cells.append(interval_text(entry["error"], entry["low"], entry["high"]) if entry else "")
    if "overlap" in run:
        found = run["overlap"]["test"]
        boxes = interval_text(found["found"], found["low"], found["high"])
        cells[0] = f"{boxes} of boxes found; {cells[0]}"
    return cells


def run_cells(run: Mapping[str, Any], images: str) -> list[str]:
    """Return validation error, training images, parameters, time and device, seed and commit of a run."""
    validation = run["validation"].get("average_probability", run["validation"]["greedy"])["error"]
    return [
        f"{validation:.2f}",
        images,
        f"{run['parameters']:,}",
        f"{run['wall_seconds'] / 60:.0f} min, {run['device']}",
        str(run["seed"]),
        f"{run.get('commit') or '-'}"[:10],
    ]
