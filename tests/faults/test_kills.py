"""Runs of every family, killed in every phase, end with the same bits as a run that nothing has disturbed."""

import contextlib
import io
from pathlib import Path

import pytest

from experiments import cnn, colocalisation, dram, ram, soft_attention, stn
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import MARKER
from tests.experiments.test_dram import FLAGS as DRAM
from tests.experiments.test_whole_images import ENCODER_FLAGS, FINDER, LOOP
from tests.experiments.training.small_runs import CNN, RAM, save_images
from tests.experiments.training.test_crashes import Recorder, outcome

pytestmark = [pytest.mark.slow, pytest.mark.fault("kills")]
GLIMPSES = "--num-glimpses 2"
FAMILIES = {
    "cnn": (cnn, CNN),
    "ram": (ram, RAM),
    "dram": (dram, DRAM),
    "stn": (stn, f"RTS_st_fcn --units 8 --localisation-units 4 --downsample 1 {LOOP}".split()),
    "soft_attention": (soft_attention, f"cluttered60 --units 8 --core-hidden 8 --core rnn {GLIMPSES} {LOOP}".split()),
    "colocalisation": (colocalisation, f"{FINDER} --steps 4 --encoder-from encoder".split()),
}
PHASES = ("creation", "first step", "validation", "checkpoint", "evaluation", "report", "finished")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images, and an encoder for the co-localisation."""
    base = tmp_path_factory.mktemp("kills")
    save_images(base, 60, 12)
    save_images(base, 100, 12, classes=10, name="digits.npz")  # Pairs need ten digits.
    with contextlib.chdir(base):
        train(stn, ENCODER_FLAGS.split(), "encoder")
    return base


@pytest.fixture(scope="module")
def recorder():
    return Recorder()


def train(module, flags, run_dir, *more):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        data = "digits.npz" if module is dram else "images.npz"
        module.main([*flags, "--data", data, "--run-dir", str(run_dir), *more])


def phase(run):
    """Return the phase in which a run was killed, by the files that it left."""
    if (run / "results.json").exists():
        return "finished" if (run / "report.html").exists() else "report"
    if (run / "checkpoints" / "4").exists():
        return "evaluation"
    if (run / "checkpoints" / "partial").exists():
        return "checkpoint"
    if (run / "metrics.jsonl").exists() and read_metrics(run):
        return "validation"
    return "first step" if (run / "events").exists() else "creation"


def sample(copies, most):
    """Return the first and, if there may be two, the last kill of each phase."""
    by_phase = {}
    for copy in copies:
        by_phase.setdefault(phase(copy), []).append(copy)
    return {name: list(dict.fromkeys([runs[0], runs[-1]]))[:most] for name, runs in by_phase.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_killed_in_any_phase_ends_the_same(folder, recorder, tmp_path, monkeypatch, record_fault, family):
    module, flags = FAMILIES[family]
    flags = [flag for flag in flags if flag != "--no-plots"]
    monkeypatch.setattr("experiments.runs.run.draw", lambda *args: None)  # Drawing takes longest.
    monkeypatch.chdir(folder)
    with recorder.record(Path(f"run_{family}"), tmp_path / "copies"):
        train(module, flags, f"run_{family}")
    whole = outcome(Path(f"run_{family}"))
    kills = sample(sorted((tmp_path / "copies").iterdir()), most=2 if family in ("cnn", "ram", "dram") else 1)
    assert set(kills) == set(PHASES)
    for name, runs in kills.items():
        for run in runs:
            train(module, flags, run, *["--resume"] * (run / MARKER).exists())
            assert outcome(run) == whole, (name, run)
            record_fault("kills", "exact")
