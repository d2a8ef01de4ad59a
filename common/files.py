"""Force files to the disk, so that they survive a loss of power."""

import contextlib
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to the disk.

    Raises:
      OSError: the disk does not take the content of the file.
    """
    # Not every file system can force the names in a folder.
    with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def sync_tree(folder: Path) -> None:
    """Force a folder with all that it holds to the disk.

    Raises:
      OSError: the disk does not take the content of a file.
    """
    for path in (*folder.rglob("*"), folder):
        sync(path)
