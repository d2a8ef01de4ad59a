"""The run directory: configuration, metrics and results. A kill at any moment leaves them readable.

Each file is written by one rename, and each line of metrics by one append, together with its own digest (see
`experiments.output.json_files`); a checkpoint has digests too. So no list of digests can disagree with the files after
a kill, and an extended run, another start or another line needs no second write. A file that is changed or missing is
named, with what to do about it. Files of older versions have no digests, and are read as they are.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.checks import refuse, refuse_file
from experiments.output.json_files import read_json, write_sealed
from experiments.output.results_shape import explain_misfit
from experiments.training.config import flatten
from experiments.training.metrics_file import METRICS, read_metrics

MARKER = "config.json"
STARTS = "starts.json"
RESULTS = "results.json"
# The types of the entries of each start that is recorded.
_START: dict[str, Any] = {"step": int, "images": str, "commit": str | None, "jax_version": str, "device": str}
# The steps that a run was first planned with, and those of each extension but the last.
EXTENDED = "extended_from"
STEPS = "config.training.steps"
# What to do with a name in place of a run directory.
_NAMES = (
    ", such as runs/ram-quick-seed0; experiments.evaluate and experiments.look also take the name of a trained agent, "
    "and the commands that train (experiments.ram and so on) that of a preset"
)
RESTORE_CONFIG = "restore it from a copy, or delete the folder and start again"
# The last commit that reads run directories whose configurations name a model instead of a family.
LAST_TO_READ_MODELS = "06f9b59"


def check_run(
    run_dir: Path,
    identity: dict[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config,
) -> None:
    """Check that a run directory can be made or reopened.

    A run that ended before its first checkpoint may be started again, since nothing is lost.

    Args:
      run_dir: the folder.
      identity: the content of ``config.json`` (see `experiments.runs.preparation.identity`).
      resume: reopen an existing run of the same configuration, perhaps with more steps.
      overwrite: delete an existing run first.
      complete: ``configuration -> configuration``; adds the defaults of fields that are newer than the run.

    Raises:
      ValueError: the folder exists and neither flag is given, both are given, it holds another configuration or
        something that is not a run, its checkpoints are gone, a file of it is damaged, or it cannot be written.
    """
    if resume and overwrite:
        raise ValueError("--resume with --overwrite: give one of them")
    refuse_file("run directory", run_dir)
    _require_writable(run_dir)
    refuse(_reasons_against(run_dir, resume, overwrite))
    if resume:
        _require_same(run_dir, identity, complete)
        _require_checkpoints(run_dir)
        read_starts(run_dir), read_metrics(run_dir)  # Now, before something is written.


def _reasons_against(run_dir: Path, resume: bool, overwrite: bool) -> Iterator[tuple[object, str]]:
    """Yield why a run cannot have a folder, each with whether it holds (`common.checks.refuse`)."""
    name = f"run directory {str(run_dir)!r}"
    occupied = run_dir.exists() and not all(_is_half_written(path) for path in run_dir.iterdir())
    # What an empty variable of the shell gives.
    current = not occupied and run_dir == Path()
    yield current, "run directory '' or '.' is the current folder: name a folder for the new run"
    yield occupied and not _is_run(run_dir), f"{name} holds no {MARKER} of a run: give another --run-dir"
    yield (
        occupied and not (resume or overwrite) and holds_work(run_dir),
        f"{name} exists: give --resume to continue it, --overwrite to start again, or another --run-dir",
    )
    yield resume and not occupied, f"{name} holds no run to resume: leave out --resume"


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make a run directory and lock it, so that two processes never train into it.

    Raises:
      ValueError: another process holds it.
      OSError: it cannot be made.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"run directory {str(run_dir)!r} cannot be made: {error.strerror}") from error
    folder = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"run directory {str(run_dir)!r} is in use by another process: give another --run-dir"
            raise ValueError(message) from error
        except OSError:  # Not every file system has locks.
            pass
        yield
    finally:
        os.close(folder)


def open_run(run_dir: Path, identity: dict[str, Any], *, resume: bool) -> list[int]:
    """Make or reopen a run directory that `check_run` accepts; empty it unless the run is resumed.

    A run that is resumed with more steps is another run from then on: ``config.json`` holds its new steps, and its
    earlier ones in the list ``extended_from``.

    Returns:
      That list; empty for a run that was not extended.

    Raises:
      OSError: what it holds cannot be deleted, or the folder cannot be written.
    """
    if resume:
        return _extend(run_dir, identity["config"]["training"]["steps"])
    run_dir.mkdir(parents=True, exist_ok=True)
    for path in list(run_dir.iterdir()):  # Not the folder itself, which may be a link or a disk of its own.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:  # That stays until it is replaced, so that after a kill the folder is still a run's.
            path.unlink()
    write_sealed(run_dir / MARKER, identity)
    return []


def read_extensions(run_dir: Path) -> dict[str, list[int]]:
    """Return ``extended_from`` of ``config.json`` as the entry of a results file; empty for a run without it."""
    known = read_identity(run_dir)
    return {EXTENDED: known[EXTENDED]} if EXTENDED in known else {}


def _extend(run_dir: Path, steps: int) -> list[int]:
    known = read_identity(run_dir)
    extended, before = known.get(EXTENDED, []), known["config"]["training"]["steps"]
    if steps != before:
        extended = [*extended, before]
        known["config"]["training"]["steps"] = steps
        write_sealed(run_dir / MARKER, known | {EXTENDED: extended})
    return extended


def _require_writable(run_dir: Path) -> None:
    existing = run_dir
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"run directory {str(run_dir)!r}: {str(existing)!r} is not a folder that can be written")


def holds_run(run_dir: Path) -> bool:
    """Return True if a run has begun here, so that it can be resumed."""
    return (run_dir / MARKER).is_file()


def holds_work(run_dir: Path) -> bool:
    """Return True if a folder holds a checkpoint, results, or traces of a checkpoint that is gone."""
    return _has_checkpoint(run_dir) or _lost_checkpoint(run_dir) is not None


def _has_checkpoint(run_dir: Path) -> bool:
    return any(run_dir.glob("checkpoints/[0-9]*"))


def _lost_checkpoint(run_dir: Path) -> str | None:
    """Return the name of a file that only a run with a checkpoint writes, if there is one."""
    if (run_dir / RESULTS).exists():
        return RESULTS
    # A checkpoint follows each line of a validation before the next line.
    return METRICS if any("validation_error" in record for record in read_metrics(run_dir)[:-1]) else None


def _require_checkpoints(run_dir: Path) -> None:
    if not _has_checkpoint(run_dir) and (trace := _lost_checkpoint(run_dir)):
        raise ValueError(
            f"'{run_dir / 'checkpoints'}' holds no checkpoint, but {trace} shows that there were some: restore them "
            "from a copy, or give --overwrite to start again"
        )


def _is_half_written(path: Path) -> bool:
    """Check if a file is what a kill leaves of the first file of a run."""
    return path.name.startswith(f".{MARKER}.") and path.name.endswith(".tmp")


def _is_run(run_dir: Path) -> bool:
    """Check that the folder is a run's, and not any folder with a ``config.json``, which --overwrite would delete."""
    return (run_dir / MARKER).is_file() and {"preset", "config"} <= set(_read_config(run_dir))


def read_identity(run_dir: Path) -> dict[str, Any]:
    """Read what identifies a run, the content of ``config.json`` (see `experiments.runs.preparation.identity`).

    Raises:
      ValueError: the folder holds no run, or one that this version does not read, or the file is damaged.
    """
    path = run_dir / MARKER
    if not path.is_file():
        is_name = not run_dir.exists() and run_dir.parent == Path()
        raise ValueError(
            f"run directory {str(run_dir)!r} holds no {MARKER}: give the directory of a run" + _NAMES * is_name
        )
    identity = _read_config(run_dir)
    if "model" in identity and "family" not in identity:
        raise ValueError(
            f"run directory {str(run_dir)!r} is of an older version: commit {LAST_TO_READ_MODELS} reads it"
        )
    known = isinstance(identity.get("family"), str) and isinstance(identity.get("config"), dict)
    further = all(isinstance(identity.get(name, kind()), kind) for name, kind in (("code", dict), (EXTENDED, list)))
    _require_whole(path, known and further, "configuration of a run", RESTORE_CONFIG)
    return identity


def _require_whole(path: Path, whole: bool, what: str, advice: str) -> None:
    if not whole:
        raise ValueError(f"{str(path)!r} is damaged: it holds no {what}: {advice}")


def _read_config(run_dir: Path) -> dict[str, Any]:
    return read_json(run_dir / MARKER, RESTORE_CONFIG)


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """Return the starts of a run, the first one first; none where they were not recorded.

    Raises:
      ValueError: the file is damaged.
    """
    path, advice = run_dir / STARTS, "restore it from a copy, or delete it; images are then not compared"
    if not path.exists():
        return []
    starts: Any = read_json(path, advice).get("starts")
    whole = isinstance(starts, list) and all(_is_start(start) for start in starts)
    _require_whole(path, whole, "list of starts", advice)
    return starts


def _is_start(start: Any) -> bool:
    return isinstance(start, dict) and all(isinstance(start.get(name), kind) for name, kind in _START.items())


def read_results(run_dir: Path) -> dict[str, Any] | None:
    """Read ``results.json``; None for a run that has not finished.

    Raises:
      ValueError: the file is damaged.
    """
    path, advice = run_dir / RESULTS, "restore it from a copy, or delete it and --resume the run, to evaluate it again"
    if not path.exists():
        return None
    results = read_json(path, advice)
    if misfit := explain_misfit(results):
        raise ValueError(f"{str(path)!r} is damaged: {misfit}: {advice}")
    return results


@contextlib.contextmanager
def naming_the_commit(run_dir: Path) -> Iterator[None]:
    """Add to the error of a configuration that this code cannot read the commit of the code that wrote it."""
    try:
        yield
    except ValueError as error:
        commits: list[str | None] = []
        with contextlib.suppress(ValueError):
            commits = [start["commit"] for start in read_starts(run_dir)]
        older = f"; if the code has changed since, commit {commits[-1]} reads it" if commits and commits[-1] else ""
        raise ValueError(f"run directory {str(run_dir)!r}: {error}{older}") from error


def _require_same(run_dir: Path, identity: dict[str, Any], complete: Callable[[dict[str, Any]], Any]) -> None:
    known = read_identity(run_dir)
    if known["family"] == identity["family"]:
        with naming_the_commit(run_dir):
            known = known | {"config": complete(known["config"])}
    known = {name: value for name, value in known.items() if name != EXTENDED}
    saved, asked = (dict(flatten(json.loads(json.dumps(tree)))) for tree in (known, identity))
    for name in [*asked, *saved]:
        if saved.get(name) == asked.get(name):
            continue
        if name.startswith("code."):
            raise ValueError(
                f"run directory {str(run_dir)!r}: the source file of {name.removeprefix('code.')} has changed since "
                "the run began: undo the change, or give --overwrite to start again"
            )
        more = ""
        if name == STEPS and saved[name] is not None:
            if asked[name] > saved[name]:
                _require_full_length(run_dir)
                continue
            more = "; it can be resumed with more steps, not with fewer"
        raise ValueError(
            f"run directory {str(run_dir)!r} belongs to another configuration: its {name} is {saved.get(name)!r}, "
            f"now {asked.get(name)!r}{more}"
        )


def _require_full_length(run_dir: Path) -> None:
    results = read_results(run_dir)
    if results is not None and results["steps"] < (planned := results["config"]["training"]["steps"]):
        raise ValueError(
            f"run directory {str(run_dir)!r}: its patience ended the run after step {results['steps']} of {planned}, "
            "so more steps change nothing: give --init-from and another --run-dir to train on"
        )
