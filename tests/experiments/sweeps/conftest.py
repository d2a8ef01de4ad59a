"""Fixtures of the tests of sweeps: stand-in cells that cost nothing, and the command line in an empty folder."""

import json
from pathlib import Path

import pytest

from experiments import ablate

FAKE = Path(__file__).with_name("fake_cell.py")


def fake_arguments(cell, run_dir, *, resume, reports=False):
    """Return the arguments of a stand-in cell, like `experiments.sweeps.cells.arguments`."""
    flags = [f"--run-dir={run_dir}"] if run_dir else []
    return ["-S", "-E", str(FAKE), json.dumps(cell.identity()), *flags, *(["--resume"] if resume else [])]


class Fake:
    """The folder of files that set the behaviour of the cells."""

    def __init__(self, folder):
        self.folder = folder

    def set(self, *names):
        """Make files (see `fake_cell`)."""
        for name in names:
            (self.folder / name).touch()

    def starts(self):
        """Return ``units seed`` of each start of a cell, in order."""
        path = self.folder / "starts"
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Make sweeps run stand-in cells."""
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setattr("experiments.sweeps.local.command", lambda mode: ["-S", "-E", str(FAKE), "together"])
    for launcher in ("local", "ray_cluster"):
        monkeypatch.setattr(f"experiments.sweeps.{launcher}.arguments", fake_arguments)
    return Fake(folder)


@pytest.fixture
def sweep(images, tmp_path, monkeypatch, capfd):
    """Return a function that runs the command line on small images in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(*flags):
        status = 0
        try:
            ablate.main([*flags])
        except SystemExit as stop:
            status = stop.code
        out, err = capfd.readouterr()
        return status, out, err

    base = "cnn --preset mnist28 --task images --network fc --steps 4 --batch-size 8 --together no --sweep-dir s --data"
    call.base = [*base.split(), str(images)]
    call.run = lambda *flags: call(*call.base, *flags)
    return call
