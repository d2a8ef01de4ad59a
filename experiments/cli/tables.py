"""Tables for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.readouts import MEANS, readout_name


def means_text(num_episodes: int) -> str:
    """What says of how many episodes the means are."""
    episodes = "1 sampled episode" if num_episodes == 1 else f"{num_episodes:,} sampled episodes"
    return f"means are of {episodes}"


def errors_table(errors: dict[str, dict[str, dict[str, Any]]], num_episodes: int | None = None) -> Table:
    """Errors in per cent with their 95% intervals: a row for each read-out, a column for each split.

    Args:
      errors: from `experiments.training.loop.evaluate`.
      num_episodes: sampled episodes that the means are of, said below the table; not said if None.
    """
    methods = next(iter(errors.values()))
    said = means_text(num_episodes) if num_episodes is not None and any(name in methods for name in MEANS) else None
    table = Table("read-out", *errors, title="error in per cent [95% interval]", caption=said)
    for method in methods:
        cells = [f"{e[method]['error']:.2f} [{e[method]['low']:.2f}, {e[method]['high']:.2f}]" for e in errors.values()]
        table.add_row(readout_name(method, num_episodes), *cells)
    return table


def overlap_table(overlaps: dict[str, dict[str, Any]]) -> Table:
    """How well things were found: a column for each split (see `experiments.evaluation.overlap.overlaps`)."""
    table = Table("boxes", *overlaps, title="overlap with the true boxes (intersection over union)")
    table.add_row("above a half, in per cent", *map(found_text, overlaps.values()))
    table.add_row("mean", *(f"{e['mean']:.3f}" for e in overlaps.values()))
    return table


def found_text(overlap: dict[str, Any]) -> str:
    """The share of the boxes of a split that were found, in per cent, with its interval."""
    return f"{overlap['found']:.2f} [{overlap['low']:.2f}, {overlap['high']:.2f}]"


def headline(found: dict[str, Any], num_episodes: int) -> str:
    """What a run comes to, on the test set: the share of the images that it found things in, or else read right."""
    if "overlap" in found:
        test = found["overlap"]["test"]
        return f"boxes found: {test['found']:.2f}% (mean overlap {100 * test['mean']:.1f}%)"
    errors = found["test"]
    if "average_probability" in errors:
        error = errors["average_probability"]["error"]
        return f"test accuracy: {100 - error:.2f}% ({readout_name('average_probability', num_episodes)})"
    return f"test accuracy: {100 - errors['greedy']['error']:.2f}%"


def print_errors(found: dict[str, Any], num_episodes: int) -> None:
    """Prints `errors_table` of both splits and, where there is an ``overlap``, `overlap_table`."""
    Console().print(errors_table({split: found[split] for split in ("validation", "test")}, num_episodes))
    if "overlap" in found:
        Console().print(overlap_table(found["overlap"]))


def readers_table(errors: dict[str, dict[str, dict[str, dict[str, Any]]]], num_episodes: int) -> Table:
    """Errors of several readers in per cent with their 95% intervals: below each one's name rows for its read-outs.

    Args:
      errors: ``{split: {reader: {method: {error, low, high}}}}``.
      num_episodes: sampled episodes that the means are of.
    """
    title = "whole sequences read wrong, in per cent [95% interval]"
    table = Table("reader", *errors, title=title, caption=means_text(num_episodes))
    readers = next(iter(errors.values()))
    for reader, methods in readers.items():
        table.add_row(f"[bold]{reader}[/bold]")
        for method in methods:
            entries = [split[reader][method] for split in errors.values()]
            cells = [f"{e['error']:.2f} [{e['low']:.2f}, {e['high']:.2f}]" for e in entries]
            table.add_row(f"  {readout_name(method, num_episodes)}", *cells)
        table.add_section()
    return table
