"""A kill between any two operations on the files of a run leaves a folder that the next start takes up.

What a kill leaves is what lies on the disk at that moment, so the folder is copied before each operation on a file.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from experiments import cnn
from experiments.output.json_files import write_json
from experiments.training import provenance
from experiments.training.metrics_file import MetricsWriter, read_metrics
from experiments.training.provenance import add_start
from experiments.training.run_directory import check_run, open_run, read_json
from tests.experiments.results_maker import results_of
from tests.experiments.training.small_runs import CNN

OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
IDENTITY = {"family": "ram", "preset": "quick", "config": {"training": {"steps": 4}}, "code": {}}
LONGER = {**IDENTITY, "config": {"training": {"steps": 8}}}
IMAGES = {"images": "a", "train_images": "b"}


class Recorder:
    """Copies a folder before each operation on a file in it, and once more at the end; keeps different copies alone."""

    def __init__(self):
        self.folder, self.copies, self.seen, self.lock = None, None, set(), threading.RLock()
        sys.addaudithook(self.observe)  # For good: Python cannot remove it.

    def observe(self, event, args):
        if self.folder is None or event not in OPERATIONS or not isinstance(args[0], str | os.PathLike):
            return
        path, by_descriptor = Path(args[0]).absolute(), event in ("os.remove", "os.rmdir") and args[1] != -1
        if (by_descriptor or self.folder in (path, *path.parents)) and self.lock.acquire(blocking=False):
            try:
                self.copy()
            finally:
                self.lock.release()

    def copy(self):
        folder, self.folder = self.folder, None  # Copying opens files too.
        if folder.exists():
            target = self.copies / f"{len(self.seen):04}"
            with contextlib.suppress(shutil.Error):  # Another thread has removed a file meanwhile.
                shutil.copytree(folder, target, symlinks=True)
            digest = hashlib.sha256()
            for path in sorted(target.rglob("*")):
                digest.update(f"\0{path.relative_to(target)}\0".encode())
                digest.update(path.read_bytes() if path.is_file() else b"")
            if digest.digest() in self.seen:
                shutil.rmtree(target)
            self.seen.add(digest.digest())
        self.folder = folder

    @contextlib.contextmanager
    def record(self, folder, copies):
        self.folder, self.copies, self.seen = folder.absolute(), copies.absolute(), set()
        try:
            yield
            with self.lock:
                self.copy()
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def recorder():
    return Recorder()


def begin(run_dir, identity, step=0, **flags):
    """Do what a start writes before it trains."""
    check_run(run_dir, identity, **{"resume": False, "overwrite": False, **flags})
    open_run(run_dir, identity, resume=flags.get("resume", False))
    add_start(run_dir, IMAGES, {})
    return MetricsWriter(run_dir, step)


def finish(run_dir, writer):
    """Leave the folder of a finished run."""
    writer.append({"step": 4, "validation_error": 1.0, "seconds": 1.0})
    (run_dir / "checkpoints" / "4").mkdir(parents=True)
    for name in ("a", "b"):
        (run_dir / "checkpoints" / "4" / name).write_text(name)
    write_json(run_dir / "results.json", results_of())


STARTS = {
    "new": (IDENTITY, 0, {}),
    "overwritten": (LONGER, 0, {"overwrite": True}),
    "extended": (LONGER, 4, {"resume": True}),
}


@pytest.mark.parametrize("kind", STARTS)
def test_the_same_start_takes_up_what_a_kill_leaves(recorder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(provenance, "commit", lambda sources: None)  # That takes longest.
    run_dir, copies, (identity, step, flags) = tmp_path / "run", tmp_path / "copies", STARTS[kind]
    if kind != "new":
        finish(run_dir, begin(run_dir, IDENTITY))
    with recorder.record(run_dir, copies):
        begin(run_dir, identity, step, **flags)
    whole = read_json(run_dir / "config.json")
    left = sorted(copies.iterdir())
    assert len(left) >= 5
    for folder in left:
        begin(folder, identity, step, **flags)
        assert read_json(folder / "config.json") == whole and len(read_metrics(folder)) == (step == 4)
        assert (folder / "checkpoints").exists() == (kind == "extended")


@pytest.mark.slow
@pytest.mark.fault("kills")
def test_a_run_killed_between_any_two_operations_ends_the_same(recorder, tmp_path, monkeypatch, record_fault):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(60) % 3
    np.savez("images.npz", images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8), labels=labels)
    flags = [*CNN, "--data", "images.npz"]
    with recorder.record(Path("run"), Path("copies")):
        cnn.main([*flags, "--run-dir", "run"])
    whole = outcome(Path("run"))
    left = sorted(Path("copies").iterdir())
    assert len(left) >= 30
    for folder in left:
        begun = (folder / "config.json").exists()
        cnn.main([*flags, "--run-dir", str(folder), *["--resume"] * begun])
        assert outcome(folder) == whole, folder
        record_fault("kills", "exact")


def outcome(run_dir):
    """What a run has come to, without times, and without the commit, which may change while tests run."""
    timed = ("seconds", "images_per_second")
    results = read_json(run_dir / "results.json")
    return (
        read_json(run_dir / "checkpoints" / "4" / "digest.json")["state"],
        {name: value for name, value in results.items() if name not in ("wall_seconds", "starts", "commit")},
        [{k: v for k, v in record.items() if k not in timed} for record in read_metrics(run_dir)],
        sorted(path.name for path in run_dir.iterdir() if not path.name.startswith(".")),
    )
