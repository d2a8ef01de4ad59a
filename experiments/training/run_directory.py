"""The run directory: configuration, metrics and results. A kill at any moment leaves them readable."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from common.checks import refuse_file
from experiments.output.files import write_bytes
from experiments.training.config import flatten

MARKER = "config.json"
# The steps that a run was first planned with, and those of each extension but the last.
EXTENDED = "extended_from"
STEPS = "config.training.steps"
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
      identity: the content of ``config.json`` (see `experiments.training.run.identity`).
      resume: reopen an existing run of the same configuration, perhaps with more steps.
      overwrite: delete an existing run first.
      complete: ``configuration -> configuration``; adds the defaults of fields that are newer than the run.

    Raises:
      ValueError: the folder exists and neither flag is given, both are given, it holds another configuration or
        something that is not a run, or it cannot be written.
    """
    if resume and overwrite:
        raise ValueError("--resume with --overwrite: give one of them")
    refuse_file("run directory", run_dir)
    _require_writable(run_dir)
    occupied = run_dir.exists() and any(run_dir.iterdir())
    if occupied and not _is_run(run_dir):
        raise ValueError(f"run directory {str(run_dir)!r} holds no {MARKER} of a run: give another --run-dir")
    if occupied and not (resume or overwrite) and _holds_work(run_dir):
        raise ValueError(
            f"run directory {str(run_dir)!r} exists: give --resume to continue it, --overwrite to start again, "
            "or another --run-dir"
        )
    if resume and not occupied:
        raise ValueError(f"run directory {str(run_dir)!r} holds no run to resume: leave out --resume")
    if resume:
        _require_same(run_dir, identity, complete)


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
        else:
            path.unlink()
    write_json(run_dir / MARKER, identity)
    return []


def read_extensions(run_dir: Path) -> dict[str, list[int]]:
    """Return ``extended_from`` of ``config.json`` as the entry of a results file; empty for a run without it."""
    known = read_json(run_dir / MARKER)
    return {EXTENDED: known[EXTENDED]} if EXTENDED in known else {}


def _extend(run_dir: Path, steps: int) -> list[int]:
    known = read_json(run_dir / MARKER)
    extended, before = known.get(EXTENDED, []), known["config"]["training"]["steps"]
    if steps != before:
        extended = [*extended, before]
        known["config"]["training"]["steps"] = steps
        write_json(run_dir / MARKER, known | {EXTENDED: extended})
    return extended


def _require_writable(run_dir: Path) -> None:
    existing = run_dir
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"run directory {str(run_dir)!r}: {str(existing)!r} is not a folder that can be written")


def _holds_work(run_dir: Path) -> bool:
    return (run_dir / "results.json").exists() or any(run_dir.glob("checkpoints/[0-9]*"))


def _is_run(run_dir: Path) -> bool:
    """Check that the folder is a run's, and not any folder with a ``config.json``, which --overwrite would delete."""
    return (run_dir / MARKER).is_file() and {"preset", "config"} <= set(read_json(run_dir / MARKER))


def read_identity(run_dir: Path) -> dict[str, Any]:
    """Read what identifies a run, the content of ``config.json`` (see `experiments.training.run.identity`).

    Raises:
      ValueError: the folder holds no run, or one that this version does not read.
    """
    path = run_dir / MARKER
    if not path.is_file():
        raise ValueError(f"run directory {str(run_dir)!r} holds no {MARKER}: give the directory of a run")
    identity = read_json(path)
    if "model" in identity and "family" not in identity:
        raise ValueError(
            f"run directory {str(run_dir)!r} is of an older version: commit {LAST_TO_READ_MODELS} reads it"
        )
    if not (isinstance(identity.get("family"), str) and isinstance(identity.get("config"), dict)):
        raise ValueError(f"{str(path)!r} is damaged: it names no family or holds no configuration")
    return identity


@contextlib.contextmanager
def naming_the_commit(run_dir: Path) -> Iterator[None]:
    """Add to the error of a configuration that this code cannot read the commit of the code that wrote it."""
    try:
        yield
    except ValueError as error:
        path = run_dir / "starts.json"
        commits = [start.get("commit") for start in read_json(path).get("starts", ())] if path.exists() else []
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
    path = run_dir / "results.json"
    if not path.is_file():
        return
    results = read_json(path)
    if results["steps"] < (planned := results["config"]["training"]["steps"]):
        raise ValueError(
            f"run directory {str(run_dir)!r}: its patience ended the run after step {results['steps']} of {planned}, "
            "so more steps change nothing: give --init-from and another --run-dir to train on"
        )


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with a final newline."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      ValueError: the file is missing or damaged; names it.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r} cannot be read: it holds no JSON object")
    return value


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``, but for a damaged last one: a kill can cut it short.

    Raises:
      ValueError: another line is damaged; names the file and the line.
    """
    path = run_dir / "metrics.jsonl"
    records: list[dict[str, Any]] = []
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
        elif number < len(lines):
            raise ValueError(f"{str(path)!r} cannot be read: line {number} is damaged")
    return records


class MetricsWriter:
    """Writes ``metrics.jsonl``, and the same values for TensorBoard into ``events/``.

    Args:
      run_dir: the folder of the run.
      step: the last step of the run so far; metrics of later steps are dropped, since the run measures them anew.

    Raises:
      ValueError: the metrics of the run so far cannot be read (see `read_metrics`).
    """

    def __init__(self, run_dir: Path, step: int):
        self._path = run_dir / "metrics.jsonl"
        self.records = [record for record in read_metrics(run_dir) if record["step"] <= step]
        write_bytes(self._path, "".join(json.dumps(record) + "\n" for record in self.records).encode())
        (run_dir / "events").mkdir(exist_ok=True)
        # Not a SummaryWriter, whose thread would die of a full disk and then block the run.
        self._events = EventsWriter(str(run_dir / "events" / "events"), f".{step}")
        start = SessionLog(status=SessionLog.START)  # TensorBoard then hides what was written of later steps before.
        self._events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    @property
    def seconds(self) -> float:
        """Return the seconds that the run took until its last line."""
        return self.records[-1]["seconds"] if self.records else 0.0

    def append(self, record: dict[str, Any]) -> None:
        """Append a line to ``metrics.jsonl``: the step, and finite numbers by name.

        Raises:
          OSError: it cannot be written.
        """
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "step"]
        self._events.write_event(Event(wall_time=time.time(), step=record["step"], summary=Summary(value=values)))
        self._events.flush()
