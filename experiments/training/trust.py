"""The code of the user's own that a run names, and whether it may be run: the project's, and what the user ran before.

A run directory names functions and classes as ``module:name``, and to read the run imports them. A run that somebody
sent must not run code that its reader has not seen. What a start of a run uses is known from then on, by the SHA-256 of
its source file, in a folder of the user's cache; so an edited file is asked for again.
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data.array_cache import user_cache_dir
from common.extensions import is_own, source_digest, source_file
from experiments.training.config import flatten

_PROJECT = Path(__file__).resolve().parents[2]
# The name of something of the user's own, as a configuration holds it.
_OWN = re.compile(r"[\w.-]+:\w+")


def code_digests(family: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the source file of everything of the user's own that a run uses, by ``module:name``.

    Args:
      family: name of the family.
      config: the configuration as JSON values.
    """
    digests = {name: source_digest(name) for name in own_names(family, config)}
    return {name: digest for name, digest in digests.items() if digest is not None}


def own_names(family: str, config: Mapping[str, Any]) -> list[str]:
    """Return each ``module:name`` of a configuration whose module exists, in order (arguments as of `code_digests`)."""
    values = [family, *(value for _, value in flatten(config))]
    named = dict.fromkeys(value for value in values if isinstance(value, str) and _OWN.fullmatch(value))
    return [name for name in named if is_own(name)]


def check_trust(run_dir: Path, family: str, config: Mapping[str, Any]) -> None:
    """Check, before anything is imported, that a run names no code that this user has not run.

    Args:
      run_dir: its run directory, for the message.
      family: the name of its family.
      config: its configuration as JSON values.

    Raises:
      ValueError: it does; names the code and its file.
    """
    for name, digest in code_digests(family, config).items():
        file = source_file(name)
        if file is None or file.resolve().is_relative_to(_PROJECT) or _record(digest).exists():
            continue
        raise ValueError(
            f"run {str(run_dir)!r} uses {name} of {str(file)!r}, code that you have not run yet: read it, then give "
            "--trust-code to experiments.evaluate"
        )


def trust(code: Mapping[str, str]) -> None:
    """Remember code as what this user runs, by its `code_digests`, unless the cache cannot be written."""
    with contextlib.suppress(OSError):
        for digest in code.values():
            _record(digest).parent.mkdir(parents=True, exist_ok=True)
            _record(digest).touch()


def _record(digest: str) -> Path:
    return user_cache_dir() / "trusted_code" / digest
