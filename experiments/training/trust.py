"""Which code of a run's configuration is run: the project's own, and what this user has run before.

A run directory names functions and classes as ``module:name``, and to read the run imports them. A run that somebody
sent must not run code that its reader has not seen. What a command line names is known from then on, by the SHA-256 of
its source file, in a folder of the user's cache; so an edited file is asked for again.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data.array_cache import user_cache_dir
from common.extensions import source_digest, source_file
from experiments.training.provenance import own_names

_PROJECT = Path(__file__).resolve().parents[2]


def check_trust(run_dir: Path, family: str, config: Mapping[str, Any]) -> None:
    """Check, before anything is imported, that a run names no code that this user has not run.

    Args:
      run_dir: its run directory, for the message.
      family: the name of its family.
      config: its configuration as JSON values.

    Raises:
      ValueError: it does; names the code and its file.
    """
    for name in own_names(family, config):
        file = source_file(name)
        if file is None or file.resolve().is_relative_to(_PROJECT) or _record(name).exists():
            continue
        raise ValueError(
            f"run {str(run_dir)!r} uses {name} of {str(file)!r}, code that you have not run yet: read it, then give "
            "--trust-code to experiments.evaluate"
        )


def trust(family: str, config: Mapping[str, Any]) -> None:
    """Remember the code that a configuration names as code that this user runs, unless the cache cannot be written."""
    for name in own_names(family, config):
        if source_file(name) is not None:
            with contextlib.suppress(OSError):
                record = _record(name)
                record.parent.mkdir(parents=True, exist_ok=True)
                record.touch()


def _record(name: str) -> Path:
    return user_cache_dir() / "trusted_code" / str(source_digest(name))
