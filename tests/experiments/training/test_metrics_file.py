"""The metrics of a run: they survive a kill, a damaged line is named, and TensorBoard gets the same values."""

import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments.training.metrics_file import MetricsWriter, read_metrics


def record(step, **values):
    return {"step": step, "loss": 1 / step, **values}


def test_resume_deletes_metrics_after_the_checkpoint(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    assert writer.records == []
    for step in (2, 4, 6):
        writer.append(record(step))
    again = MetricsWriter(tmp_path, 4)
    assert again.records == read_metrics(tmp_path) == [record(2), record(4)]
    again.append(record(6, accuracy=0.5))
    assert read_metrics(tmp_path) == [record(2), record(4), record(6, accuracy=0.5)]


@pytest.mark.parametrize(
    "last", ['{"step": 6, "lo', "", "null", "[]", "7", '{"loss": 1}', '{"step": null}', "\xff\xfe"]
)
def test_a_last_line_of_metrics_that_a_kill_cut_is_dropped(tmp_path, last):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(tmp_path) == []
    path.write_bytes((json.dumps(record(2)) + "\n" + last).encode("latin1"))
    assert read_metrics(tmp_path) == [record(2)]
    MetricsWriter(tmp_path, 2).append(record(4))
    assert read_metrics(tmp_path) == [record(2), record(4)]
    assert path.read_text().count("\n") == 2


@pytest.mark.parametrize("damaged", ['{"step": 4, "lo', "", '{"loss": 1}'])
def test_another_damaged_line_of_metrics_is_refused_and_the_file_kept(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([json.dumps(record(2)), damaged, json.dumps(record(6))]) + "\n")
    before = path.read_bytes()
    for read in (lambda: read_metrics(tmp_path), lambda: MetricsWriter(tmp_path, 6)):
        with pytest.raises(ValueError, match=f"^'{path}' cannot be read: line 2 is damaged: "):
            read()
    assert path.read_bytes() == before


def test_a_changed_line_of_metrics_is_refused(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    for step in (2, 4, 6):
        writer.append(record(step))
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for text in (whole.replace("0.25", "0.35"), whole.replace("sha256", "sha257", 2).replace("sha257", "sha256", 1)):
        path.write_text(text)
        with pytest.raises(ValueError, match="line 2 is damaged: restore the file from a copy, or delete that line"):
            read_metrics(tmp_path)
    path.write_text("".join(whole.splitlines(keepends=True)[::2]))
    assert read_metrics(tmp_path) == [record(2), record(6)]


def test_lost_metrics_are_told(tmp_path, capsys):
    MetricsWriter(tmp_path, 0).append(record(2))
    MetricsWriter(tmp_path, 2)
    assert capsys.readouterr().err == ""
    assert MetricsWriter(tmp_path, 6).records == [record(2)]
    assert f"note: '{tmp_path}/metrics.jsonl' lacks its lines from step 2 to 6" in capsys.readouterr().err


def events(folder: Path) -> list[Event]:
    """Read the events of TensorBoard: records of length, its checksum, the event, its checksum."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_tensorboard_gets_the_values_of_the_metrics(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    writer.append(record(2, accuracy=0.25))
    writer.append(record(4, accuracy=0.5))
    MetricsWriter(tmp_path, 2).append(record(4, accuracy=0.75))
    told = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in events(tmp_path / "events")
        if event.summary.value
    ]
    assert told == [
        (2, {"loss": 0.5, "accuracy": 0.25}),
        (4, {"loss": 0.25, "accuracy": 0.5}),
        (4, {"loss": 0.25, "accuracy": 0.75}),
    ]
    starts = [e.step for e in events(tmp_path / "events") if e.session_log.status == SessionLog.START]
    assert starts == [1, 3], "TensorBoard drops what it had from there on"
