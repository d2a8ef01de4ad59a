"""Output files: checked before the work begins, and written atomically, so that nobody reads half of one."""

import os
from pathlib import Path


def check_output(output: Path | None) -> None:
    """Check that a file can be written at a path, if there is one.

    Raises:
      ValueError: it is a folder, or lies in none.
    """
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise ValueError(f"output {str(output)!r}: must be a file in a folder that exists")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file atomically, make its folder if needed, and return its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
