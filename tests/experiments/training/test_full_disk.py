"""A full disk: one line reports it, earlier checkpoints survive, and the run resumes later."""

import errno
import shutil
from pathlib import Path

import pytest

from common.training.checkpoints import Checkpoints
from experiments import cnn, stn
from experiments.training.metrics_file import MetricsWriter, read_metrics
from experiments.training.run_directory import read_json

CNN = [
    "mnist28",
    "--task",
    "images",
    "--network",
    "fc",
    "--units",
    "8",
    "--no-plots",
    "--steps",
    "4",
    "--batch-size",
    "8",
    "--log-every",
    "2",
    "--evaluate-every",
    "2",
    "--validation-episodes",
    "2",
    "--eval-episodes",
    "3",
    "--seed",
    "5",
]


MORE = [pytest.param(name, marks=pytest.mark.slow) for name in ("starts.json", "images.json", ".png")]


@pytest.mark.fault("full disks", "exact")
@pytest.mark.parametrize("name", ["digest.json", "metrics.jsonl", "results.json", "report.html", *MORE])
def test_a_full_disk_is_one_line_and_the_run_resumes_later(go, refused, monkeypatch, name):
    opened, plots = Path.open, ["--plots"] if name == "report.html" else []

    def open_on_full_disk(self, mode="r", *args, **kwargs):
        if name in self.name and "r" not in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", open_on_full_disk)
        line = refused(cnn, CNN, *plots)
    assert "No space left on device" in line and "'run'" in line and line.endswith("--resume")
    go(cnn, CNN, *plots, "--resume")
    assert "test" in read_json(Path("run/results.json")) and Path("run/report.html").exists() == bool(plots)
    assert [record["step"] for record in read_metrics(Path("run"))] == [2, 4]


@pytest.mark.fault("full disks", "exact")
def test_a_disk_that_fills_up_during_training_leaves_the_last_checkpoint(go, refused, monkeypatch, small_disk, capsys):
    go(cnn, CNN)
    capsys.readouterr()
    whole = read_json(Path("run/checkpoints/4/digest.json"))["state"]
    disk = small_disk(2)
    append = MetricsWriter.append

    def append_to_full_disk(self, record):
        if record["step"] == 4:
            (disk / "others").write_bytes(bytes(shutil.disk_usage(disk).free))
        append(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsWriter, "append", append_to_full_disk)
        line = refused(cnn, CNN, "--run-dir", "disk/run")
    assert "no space left" in line.lower() and "'disk/run'" in line and line.endswith("--resume")
    assert Checkpoints(disk / "run" / "checkpoints").steps() == [2]
    (disk / "others").unlink()
    go(cnn, CNN, "--run-dir", "disk/run", "--resume")
    assert read_json(disk / "run" / "checkpoints" / "4" / "digest.json")["state"] == whole


@pytest.mark.fault("full disks", "exact")
def test_a_disk_that_is_full_when_animation_frames_are_saved_is_one_line(go, refused, monkeypatch):
    flags = ["RTS_st_fcn", "--units", "4", "--localisation-units", "2", "--downsample", "1", *CNN[1:3], *CNN[7:]]

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("common.data.array_cache.tempfile.NamedTemporaryFile", full)
        line = refused(stn, flags)
    assert "history/0.npz' cannot be written: [Errno 28] No space left on device" in line and line.endswith("--resume")
    go(stn, flags, "--resume")
    assert "test" in read_json(Path("run/results.json"))
