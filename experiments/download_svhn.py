"""Downloads SVHN's full numbers: ``python -m experiments.download_svhn FOLDER``.

Written by hand because no maintained library both continues an interrupted download and checks a digest: pooch checks
digests but starts again from the first byte, and extra.tar.gz has 2 GB.
"""

import hashlib
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
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from common.checks import refuse_file
from common.data.svhn.files import ADDRESS
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.cli.console import console, print_line

# SHA-256 of the archives. SVHN publishes none; these are recorded with the data set `svhn` of Hugging Face
# (datasets/svhn/dataset_infos.json).
DIGESTS = {
    "train": "4b17bb33b6cd8f963493168f80143da956f28ec406cc12f8e5745a9f91a51898",
    "test": "57ac9ceb530e4aa85b55d991be8fc49c695b3d71c6f6a88afea86549efde7fb5",
    "extra": "e857e27d1e65bd1e7d3959b094061777f6506bbc39889a0df3bba6a729d60f9c",
}
# Seconds without data after which a connection counts as lost.
TIMEOUT = 60
_BLOCK = 1 << 16
_RESUMABLE = "the same command continues where it stopped"


@dataclass(frozen=True)
class Download:
    """Download train.tar.gz, test.tar.gz and extra.tar.gz (0.4, 0.3 and 2 GB), unless they exist.

    An interrupted download continues where it stopped.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the archives: the value of --data."""
    extra: bool = True
    """Also download extra.tar.gz, six sevenths of all training images."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Download, "python -m experiments.download_svhn", args)
    with interruptible(f"interrupted; {_RESUMABLE}"), user_errors():
        refuse_file("folder", config.folder)
        config.folder.mkdir(parents=True, exist_ok=True)
        for part, digest in DIGESTS.items():
            if part != "extra" or config.extra:
                download(f"{ADDRESS}{part}.tar.gz", config.folder / f"{part}.tar.gz", digest)


def download(address: str, path: Path, digest: str) -> None:
    """Download a file to `path` plus `.partial`, and rename it when it is complete and its digest matches.

    Args:
      address: URL of the file.
      path: the file; nothing is done if it exists.
      digest: its SHA-256, in hexadecimal.

    Raises:
      OSError: the file cannot be downloaded or written, or its digest differs; the message names its address.
    """
    if path.exists():
        print_line(f"{str(path)!r} exists: delete it to download it again")
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        fetch(address, partial)
        with partial.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            partial.unlink()
            raise OSError(f"its SHA-256 is {actual}, expected {digest}")
        partial.rename(path)
    except (OSError, http.client.HTTPException) as error:
        hint = f"; {_RESUMABLE}" if partial.exists() else ""
        raise OSError(f"{address} cannot be downloaded: {str(error) or type(error).__name__}{hint}") from error


def fetch(address: str, path: Path) -> None:
    """Fetch the missing bytes of a file, from its end if the server supports ranges; fetched bytes are always kept.

    Raises:
      OSError, http.client.HTTPException: the file cannot be fetched or written, or the connection was closed early.
    """
    size = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # The file has all bytes; `download` checks its digest.
    columns = (TextColumn(path.stem), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with response, Progress(*columns, console=console, disable=not console.is_interactive) as progress:
        is_resumed = response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        size = size if is_resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else size + int(length)
        task = progress.add_task("", total=total, completed=size)
        with path.open("ab" if is_resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                progress.advance(task, len(block))
    size = path.stat().st_size
    if total is not None and size != total:
        raise OSError(f"the connection was closed after {size:,} of {total:,} bytes")


if __name__ == "__main__":
    main()
