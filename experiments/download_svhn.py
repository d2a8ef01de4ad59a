"""Downloads SVHN's full numbers: ``python -m experiments.download_svhn FOLDER``."""

import http
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from common.checks import refuse_file
from common.data.svhn.files import ADDRESS, PARTS
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.cli.console import say

# Seconds of silence after which a connection counts as lost.
TIMEOUT = 60
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Download:
    """Downloads train.tar.gz, test.tar.gz and extra.tar.gz (0.4, 0.3 and 2 GB); what is there already stays.

    A download that was cut short goes on where it stopped.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Where they go: what --data is to be."""
    extra: bool = True
    """Also extra.tar.gz, six sevenths of all training images."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Download, "python -m experiments.download_svhn", args)
    with interruptible("interrupted; the same command goes on with what is there"), user_errors():
        refuse_file("folder", config.folder)
        config.folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if part != "extra" or config.extra:
                download(f"{ADDRESS}{part}.tar.gz", config.folder / f"{part}.tar.gz")


def download(address: str, path: Path) -> None:
    """Downloads a file, which has its name only once it is whole; what was cut short before is continued.

    Raises:
      OSError: it cannot be had or written; the message names its address.
    """
    if path.exists():
        say(f"{str(path)!r} is there already: delete it to download it again")
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        fetch(address, partial)
        partial.rename(path)
    except (OSError, http.client.HTTPException) as error:
        kept = "; the same command goes on with what is there" if partial.exists() else ""
        raise OSError(f"{address} cannot be downloaded: {str(error) or type(error).__name__}{kept}") from error


def fetch(address: str, path: Path) -> None:
    """Fetches what a file lacks, from where it ends if the server can do that; what is fetched stays, come what may.

    Raises:
      OSError, http.client.HTTPException: it cannot be fetched or written, or the server closed the connection early.
    """
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # There is nothing after what is there: it is whole, or else another file.
        if error.headers.get("Content-Range") != f"bytes */{have}":
            path.unlink()
            fetch(address, path)
        return
    columns = (TextColumn(path.stem), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with response, Progress(*columns, console=Console(stderr=True)) as progress:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise OSError(f"the server sent {response.headers.get('Content-Range')!r}, not the bytes from {have} on")
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        task = progress.add_task("", total=total, completed=have)
        with path.open("ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                progress.advance(task, len(block))
    size = path.stat().st_size
    if total is not None and size != total:
        raise OSError(f"the connection was closed after {size:,} of {total:,} bytes")


if __name__ == "__main__":
    main()
