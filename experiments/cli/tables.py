"""Tables of errors for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.output.readouts import MEANS, SINGLE_PASS, readout_name
from experiments.output.text import interval_text, range_text


def means_text(num_episodes: int) -> str:
    """Return the caption that gives the number of episodes of the mean read-outs."""
    episodes = "1 sampled episode" if num_episodes == 1 else f"{num_episodes:,} sampled episodes"
    return f"means are of {episodes}"


def errors_table(errors: dict[str, dict[str, dict[str, Any]]], num_episodes: int | None = None) -> Table:
    """Return errors in per cent with their 95% intervals: a row for each read-out, a column for each split.

    Args:
      errors: ``{split: {read-out: {error, low, high}}}``, of `experiments.evaluation.errors.evaluate`.
      num_episodes: sampled episodes of the means, for the caption; None for no caption.
    """
    readouts = next(iter(errors.values()))
    has_means = any(name in readouts for name in MEANS)
    caption = means_text(num_episodes) if num_episodes is not None and has_means else None
    table = Table("read-out", *errors, title="error in per cent [95% interval]", caption=caption)
    for readout in readouts:
        name = readout_name(readout, num_episodes) if len(readouts) > 1 else SINGLE_PASS
        table.add_row(name, *(_percentage(e[readout]) for e in errors.values()))
    return table


def overlap_table(overlaps: dict[str, dict[str, Any]]) -> Table:
    """Return the overlap with the true boxes: a column for each split (see `experiments.evaluation.overlap`)."""
    table = Table("boxes", *overlaps, title="overlap with the true boxes (intersection over union)")
    table.add_row("above a half, in per cent", *(_percentage(e, "found") for e in overlaps.values()))
    table.add_row("mean", *(f"{e['mean']:.3f}" for e in overlaps.values()))
    return table


def _percentage(entry: dict[str, Any], name: str = "error") -> str:
    return interval_text(entry[name], entry["low"], entry["high"])


def headline(results: dict[str, Any], num_episodes: int) -> str:
    """Return the main result on the test set in one line: the boxes found, or the accuracy with its read-out."""
    if "overlap" in results:
        test = results["overlap"]["test"]
        return f"boxes found: {test['found']:.2f}% (mean overlap {100 * test['mean']:.1f}%)"
    errors = results["test"]
    if "average_probability" in errors:
        error = errors["average_probability"]["error"]
        return f"test accuracy: {100 - error:.2f}% ({readout_name('average_probability', num_episodes)})"
    return f"test accuracy: {100 - errors['greedy']['error']:.2f}%"


def print_errors(results: dict[str, Any], num_episodes: int) -> None:
    """Print `errors_table` of both splits, and `overlap_table` if the results have an ``overlap``."""
    Console().print(errors_table({split: results[split] for split in ("validation", "test")}, num_episodes))
    if "overlap" in results:
        Console().print(overlap_table(results["overlap"]))


def diagnosis_tables(diagnosis: dict[str, Any], names: dict[str, str]) -> list[Table]:
    """Return the tables of a diagnosis, with errors in per cent (see `experiments.evaluation.diagnosis.diagnose`).

    Args:
      diagnosis: its measurements.
      names: of the rows of its ``by_locations``.
    """
    sampled = means_text(diagnosis["episodes"])
    choices = Table("locations", "error", title="error in per cent [95% interval]", caption=sampled)
    for way, entry in diagnosis["by_locations"].items():
        choices.add_row(names[way], _percentage(entry))
    glimpses = Table("glimpse", "greedy", "mean of episodes", title="error after each glimpse", caption=sampled)
    has_truth = "on_digit" in diagnosis["by_glimpse"][0]
    if has_truth:
        glimpses.add_column("on the digit, %")
        glimpses.add_column("distance, px")
    for number, entry in enumerate(diagnosis["by_glimpse"], 1):
        cells = [f"{entry['on_digit']:.1f}", f"{entry['distance_px']:.1f}"] if has_truth else []
        glimpses.add_row(str(number), _percentage(entry["greedy"]), _percentage(entry["mean"]), *cells)
    tables = [choices, glimpses]
    if "by_place" in diagnosis:
        rows = diagnosis["by_place"]
        places = Table(*[""] * len(rows), title="error by the place of the digit in the image", show_header=False)
        for row in rows:
            places.add_row(*(_percentage(entry) if entry["n"] else "no images" for entry in row))
        tables.append(places)
    if "by_clutter" in diagnosis:
        clutter = Table("covered by distractors", "error", title="error by clutter on the digit's box")
        for entry in diagnosis["by_clutter"]:
            clutter.add_row(range_text(100 * entry["from"], 100 * entry["to"]), _percentage(entry))
        tables.append(clutter)
    return tables


def print_tables(tables: list[Table]) -> None:
    """Print tables one below the other."""
    for table in tables:
        Console().print(table)


def readers_table(errors: dict[str, dict[str, dict[str, dict[str, Any]]]], num_episodes: int) -> Table:
    """Return errors of several readers in per cent with their 95% intervals: for each a row for each read-out.

    Args:
      errors: ``{split: {reader: {read-out: {error, low, high}}}}``.
      num_episodes: sampled episodes of the means.
    """
    title = "whole sequences read wrong, in per cent [95% interval]"
    table = Table("reader", *errors, title=title, caption=means_text(num_episodes))
    readers = next(iter(errors.values()))
    for reader, readouts in readers.items():
        table.add_row(f"[bold]{reader}[/bold]")
        for readout in readouts:
            cells = [_percentage(split[reader][readout]) for split in errors.values()]
            table.add_row(f"  {readout_name(readout, num_episodes)}", *cells)
        table.add_section()
    return table
