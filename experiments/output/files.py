"""Write files where the user wants them: atomically, through links, and into devices and pipes as they are."""

import contextlib
import os
import sys
from pathlib import Path

from common.files import sync


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file atomically, force it to the disk, make its folder if needed, and return its path.

    The target of a symbolic link is replaced, and the link stays. A device or a pipe, such as ``/dev/stdout``, takes
    the bytes and is not replaced.

    Raises:
      OSError: the path is a folder, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: give a file")
    if (output := _output_at(path)) is not None:
        _print_bytes(output, data)
    elif path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.write(data)
    else:
        _replace(Path(os.path.realpath(path)), data)
    return path


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def _output_at(path: Path) -> int | None:
    """Return 1 or 2 if a path is the standard output or error of this process, perhaps a file of ``> FILE``."""
    for output in (1, 2):
        with contextlib.suppress(OSError):  # There is no such file, or the output is closed.
            if os.path.samestat(path.stat(), os.fstat(output)):
                return output
    return None


def _print_bytes(output: int, data: bytes) -> None:
    # Opened anew, a file of ``> FILE`` would be written from its beginning again.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with open(output, "wb", closefd=False) as file:
        file.write(data)
