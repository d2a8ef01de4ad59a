"""``metrics.jsonl``, the metrics of a run: a line for each step that is logged, with its own digest."""

import json
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from common.files import sync
from experiments.cli.console import print_warning
from experiments.output.files import write_bytes
from experiments.output.json_files import SEAL, sealed, unsealed

METRICS = "metrics.jsonl"


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``, but for one without an end that is damaged: a kill can cut it short.

    Raises:
      ValueError: another line is damaged; names the file and the line.
    """
    path = run_dir / METRICS
    text = path.read_text(errors="replace") if path.is_file() else ""
    *lines, cut = text.split("\n")
    has_seals = f'"{SEAL}"' in text  # Of all lines or of none: each start writes all of them again.
    records = []
    for number, line in enumerate(lines, start=1):
        if (record := _read_record(line, has_seals)) is None:
            raise ValueError(
                f"{str(path)!r} cannot be read: line {number} is damaged: restore the file from a copy, or delete that "
                "line to go on without it"
            )
        records.append(record)
    last = _read_record(cut, has_seals)
    return records if last is None else [*records, last]


def _read_record(line: str, has_seal: bool) -> dict[str, Any] | None:
    """Return a line of metrics; None if it is damaged."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or (SEAL in record) != has_seal:
            return None
        record = unsealed(record)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record.get("step"), int) and isinstance(record.get("seconds", 0.0), int | float)
    return record if whole else None


class MetricsWriter:
    """Writes ``metrics.jsonl``, and the same values for TensorBoard into ``events/``.

    Args:
      run_dir: the folder of the run.
      step: the last step of the run so far; metrics of later steps are dropped, since the run measures them anew. A
        line tells if those until there have been lost.

    Raises:
      ValueError: the metrics of the run so far cannot be read (see `read_metrics`).
    """

    def __init__(self, run_dir: Path, step: int):
        self._path = run_dir / METRICS
        self.records = [record for record in read_metrics(run_dir) if record["step"] <= step]
        last = self.records[-1]["step"] if self.records else 0
        if last != step:  # A checkpoint follows the line of its step.
            print_warning(
                f"note: {str(self._path)!r} lacks its lines from step {last} to {step}: the curves and the wall time "
                "go on without them"
            )
        write_bytes(self._path, "".join(_line(record) for record in self.records).encode())
        (run_dir / "events").mkdir(exist_ok=True)
        # Not a SummaryWriter, whose thread would die of a full disk and then block the run.
        self._events = EventsWriter(str(run_dir / "events" / "events"), f".{step}")
        start = SessionLog(status=SessionLog.START)  # TensorBoard then hides what was written of later steps before.
        self._events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    @property
    def seconds(self) -> float:
        """Return the seconds that the run took until its last line."""
        return self.records[-1].get("seconds", 0.0) if self.records else 0.0

    def append(self, record: dict[str, Any]) -> None:
        """Append a line to ``metrics.jsonl``: the step, and finite numbers by name.

        Raises:
          OSError: it cannot be written.
        """
        with self._path.open("a") as file:
            file.write(_line(record))
        sync(self._path)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "step"]
        self._events.write_event(Event(wall_time=time.time(), step=record["step"], summary=Summary(value=values)))
        self._events.flush()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(sealed(record)) + "\n"
