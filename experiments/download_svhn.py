"""Downloads SVHN's full numbers: ``python -m experiments.download_svhn FOLDER``."""

import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from common.checks import refuse_file
from common.data.svhn_files import ADDRESS, PARTS
from experiments.command_line import interruptible, run_tyro, user_errors
from experiments.train import say


@dataclass(frozen=True)
class Download:
    """Downloads train.tar.gz, test.tar.gz and extra.tar.gz (0.4, 0.3 and 2 GB); those that are there already stay."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Where they go: what --data is to be."""
    extra: bool = True
    """Also extra.tar.gz, six sevenths of all training images."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = run_tyro(lambda: tyro.cli(Download, prog="python -m experiments.download_svhn", args=args))
    with interruptible("interrupted; what was downloaded whole stays"), user_errors():
        refuse_file("folder", config.folder)
        config.folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if part != "extra" or config.extra:
                download(f"{ADDRESS}{part}.tar.gz", config.folder / f"{part}.tar.gz")


def download(address: str, path: Path) -> None:
    """Downloads a file, which has its name only once it is whole.

    Raises:
      OSError: it cannot be had or written; the message names its address.
    """
    if path.exists():
        say(f"{str(path)!r} is there already: delete it to download it again")
        return
    columns = (TextColumn(path.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    partial = path.with_name(f"{path.name}.partial")
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("")

            def report(blocks: int, size: int, total: int) -> None:
                progress.update(task, completed=blocks * size, total=total if total > 0 else None)

            urllib.request.urlretrieve(address, partial, report)
        partial.rename(path)
    except OSError as error:
        raise OSError(f"{address} cannot be downloaded: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
