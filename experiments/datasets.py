"""The images of a configuration, and what is said on standard error while they take long to make."""

import contextlib
from collections.abc import Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from common.data import Dataset, house_pool, load_task
from experiments.config import DataConfig
from experiments.train import console, say

LEAST_FIXED = 1000


def load_dataset(config: DataConfig) -> Dataset:
    """Loads the images.

    Raises:
      ValueError: see `common.data.load_task`.
    """
    if config.resize is not None and config.resize < 1:
        raise ValueError(f"resize {config.resize}: must be at least 1 pixel")
    if config.shift < 0:
        raise ValueError(f"shift {config.shift}: must be 0 pixels or more")
    with _progress() as progress:
        return load_task(
            config.task,
            config.data,
            config.resize,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            split_seed=config.split_seed,
            grayscale=config.grayscale,
            num_images=split_sizes(config.num_images),
            progress=progress,
        )


def split_sizes(num_images: int | None) -> tuple[int, int, int] | None:
    """How many house numbers train, validation and test have; None for the usual numbers.

    Raises:
      ValueError: no image for training.
    """
    if num_images is None:
        return None
    if num_images < 1:
        raise ValueError(f"num_images {num_images}: must be at least 1")
    fixed = max(num_images // 10, LEAST_FIXED)
    return num_images, fixed, fixed


@contextlib.contextmanager
def _progress() -> Iterator[house_pool.Progress]:
    """What is called while images are made: draws a bar for each split, or says a line where there is no terminal."""
    bar = Progress(
        TextColumn("making {task.description} images"),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_interactive,
    )
    tasks: dict = {}

    def report(split: str, done: int, total: int) -> None:
        if split not in tasks:
            say(f"making {total:,} {split} images, which are kept for the next run")
            bar.start()
            tasks[split] = bar.add_task(split, total=total)
        bar.update(tasks[split], completed=done)

    try:
        yield report
    finally:
        bar.stop()
