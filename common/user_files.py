"""Files of the user's: what they are, whether they fit into memory, and errors of one short line."""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

# Characters of a library's error, and of a name in a list, that a message quotes.
LONGEST_ERROR = 200
LONGEST_NAME = 40
# Names that a message lists.
MOST_NAMES = 6


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Read a file with a library: without its warnings, and with every error as one short line.

    The exception of Pillow, NumPy and zipfile depends on which byte is damaged, so all of them are caught.

    Args:
        what: begins the message, such as "'images.npz' cannot be read".

    Raises:
        ValueError: the block raised an error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # They do not name the file, and what can be read is read.
            yield
    except Exception as error:
        raise ValueError(f"{what}: {shorten(str(error) or type(error).__name__, LONGEST_ERROR)}") from error


def shorten(text: str, most: int) -> str:
    """Return text as one line of at most this many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def list_names(names: Iterable[str]) -> str:
    """List the first names, and say how many more there are."""
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(shorten(name, LONGEST_NAME) for name in every[:MOST_NAMES]) + more


def check_regular(path: Path, unreadable: str) -> None:
    """Check that a path is a file: opening a pipe would wait for ever.

    Args:
        path: the path.
        unreadable: begins the message, and names the path.

    Raises:
        ValueError: it is a folder, a pipe or a device, or a link to nothing.
    """
    check_link(path, unreadable)
    if path.is_dir():
        raise ValueError(f"{unreadable}: it is a folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"{unreadable}: it is no regular file")


def check_link(path: Path, unreadable: str) -> None:
    """Check that a path is no link to nothing; arguments as of `check_regular`.

    Raises:
        ValueError: it is.
    """
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{unreadable}: it is a link to {os.readlink(path)!r}, which does not exist")


def check_memory(path: Path, needed: int) -> None:
    """Check that images fit into the memory of this machine, before they are read.

    Args:
        path: where they come from, for the message.
        needed: the bytes that they take while they are prepared.

    Raises:
        ValueError: they do not.
    """
    memory = physical_memory()
    if memory is not None and needed > memory:
        raise ValueError(
            f"{str(path)!r} needs {needed / 2**30:.1f} GiB of memory, but this machine has {memory / 2**30:.1f} GiB: "
            "give fewer or smaller images"
        )


def physical_memory() -> int | None:
    """Return the bytes of memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
