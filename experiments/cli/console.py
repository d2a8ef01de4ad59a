"""Messages and progress bars on standard error."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from experiments.cli.streams import is_watched

# From this many images on, rendering is slow enough to report progress without a terminal.
LONG = 10_000

console = Console(stderr=True, markup=False, highlight=False, force_interactive=is_watched())


def print_line(line: str, style: str | None = None) -> None:
    """Print a line on standard error, above the progress bar."""
    console.print(line, style=style, soft_wrap=True)


def print_warning(line: str) -> None:
    """Print a line in yellow on standard error."""
    print_line(line, "yellow")


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print Python's warnings with `print_warning`, without the file and line of the code that warns."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_warning(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def image_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``(split, done, total) -> None``, which reports rendered images or records read: a line a split, and a bar.

    Where nobody watches there is no bar. A long split then has a line at each quarter.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        transient=True,
        disable=not console.is_interactive,
    )
    tasks: dict[str, TaskID] = {}
    quarters: dict[str, int] = {}

    def report(split: str, done: int, total: int) -> None:
        if total == 1:  # The one image that stands for a split which an evaluation does not need.
            return
        if split not in tasks:
            # A record describes the digits of one image.
            read = split.endswith(" records")
            print_line(f"reading {total:,} {split}" if read else f"rendering {total:,} {split} images; they are cached")
            bar.start()  # Most images are ready and need no bar.
            tasks[split] = bar.add_task(split, total=total)
        bar.update(tasks[split], completed=done)
        quarter = 4 * done // total
        if bar.disable and total >= LONG and quarters.get(split, 0) < quarter < 4:
            print_line(f"{split}: {done:,} of {total:,}")
        quarters[split] = quarter

    try:
        yield report
    finally:
        bar.stop()
