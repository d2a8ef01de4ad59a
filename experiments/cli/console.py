"""What is said on standard error for people: lines, and bars of what takes long."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from common.data.house_numbers import pool

# Images that take long enough to want to know how many are left.
LONG = 10_000

console = Console(stderr=True, markup=False, highlight=False)


def say(line: str, style: str | None = None) -> None:
    """Prints a line for people on standard error, above the progress bar."""
    console.print(line, style=style, soft_wrap=True)


def warn(line: str) -> None:
    """`say`, in yellow."""
    say(line, "yellow")


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Says Python's warnings as `warn` does: without the place in the code, which tells the user nothing."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        warn(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def image_progress() -> Iterator[pool.Progress]:
    """Gives what is called while images are made or records read: a line for each split and a bar.

    Where there is no terminal to draw it on, a line at each quarter of a long one is its stand-in.
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
        if total == 1:  # It stands in for all those that an evaluation does not need.
            return
        if split not in tasks:
            # Records are what a file says of its pictures.
            read = split.endswith(" records")
            say(f"reading {total:,} {split}" if read else f"making {total:,} {split} images; the next run finds them")
            bar.start()  # Not before: most images need none.
            tasks[split] = bar.add_task(split, total=total)
        bar.update(tasks[split], completed=done)
        quarter = 4 * done // total
        if bar.disable and total >= LONG and quarters.get(split, 0) < quarter < 4:
            say(f"{split}: {done:,} of {total:,}")
        quarters[split] = quarter

    try:
        yield report
    finally:
        bar.stop()
