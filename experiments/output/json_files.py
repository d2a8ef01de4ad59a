"""JSON files, with a digest or without: a sealed object holds the SHA-256 of its other entries, to notice changes.

The digest lies within what it identifies, so one rename or one appended line writes both, and no kill can part them.
A list of digests in a file of its own would be wrong between two writes. The digest is of the values and not of the
bytes, so a file that was only indented anew is still right. An object without a seal, of an older version, is read as
it is.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.output.files import write_bytes

SEAL = "sha256"
# What is left of a SHA-256 of which a few digits are damaged.
_DIGITS = re.compile("(?=.{60,68}$).*[0-9a-f]{30}.*", re.DOTALL)


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its digest as the last entry."""
    return {**value, SEAL: _digest(value)}


def unsealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object without its digest, if it has one.

    Raises:
      ValueError: the digest is that of other entries, or its name is damaged.
    """
    content = {name: entry for name, entry in value.items() if name != SEAL}
    (last,) = list(value.values())[-1:] or [None]
    # No object ends in so long a number but for its digest, whose name may be what is damaged.
    seal = value.get(SEAL, last if isinstance(last, str) and _DIGITS.fullmatch(last) else None)
    if seal is not None and seal != _digest(content):
        raise ValueError("its content has changed since it was written, as its SHA-256 shows")
    return content


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with a final newline."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object of a run directory with its digest, as `write_json` does."""
    write_json(path, sealed(value))


def read_json(path: Path, advice: str = "restore it from a copy") -> dict[str, Any]:
    """Read a JSON object, and check its digest if it has one.

    Args:
      path: the file.
      advice: what to do about a damaged file, for the message.

    Raises:
      ValueError: the file is missing or damaged; names it.
    """
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError("it holds no JSON object")
        return unsealed(value)
    except FileNotFoundError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}: {advice}") from error


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
