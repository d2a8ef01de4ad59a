"""The command that diagnoses a trained agent."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.attention.sequences import Sequence
from experiments import cnn, diagnose, ram
from tests.experiments.edited_json import edit_json

LOOP = (
    "--data digits.npz --steps 2 --batch-size 8 --log-every 2 --evaluate-every 2 --validation-episodes 1"
    " --eval-episodes 1"
)
RAM = (
    "cluttered60_dense --glimpse-size 4 --num-scales 1 --num-glimpses 2 --core rnn --core-hidden 8 --glimpse-hidden 8"
    f" --location-hidden 8 --glimpse-features 8 {LOOP} --no-plots --run-dir ram"
).split()
CNN = f"cluttered60 --units 4 --no-plots {LOOP} --run-dir cnn".split()


def save_digits():
    """Save images of 28 x 28 pixels in the current folder."""
    digits = np.random.default_rng(0).integers(0, 255, (300, 28, 28), dtype=np.uint8)
    np.savez("digits.npz", images=digits, labels=np.arange(300) % 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with the runs of a RAM and of a CNN on the same task, and of a CNN on another."""
    path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(path)
        save_digits()
        ram.main(RAM)
        Path("ram/report.html").touch()
        cnn.main(CNN)
        shutil.copytree("ram", "random")
        edit_json(Path("random/config.json"), '"locations": "learned"', '"locations": "random"')
    return path


def test_it_prints_tables_and_writes_the_figure_and_the_report(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    diagnose.main(["ram", "--episodes", "1", "--classifier", "cnn"])
    printed = capsys.readouterr().out
    for text in (
        "uniform random",
        "digit's centre (oracle)",
        "whole image (cnn)",
        "error after each glimpse",
        "clutter",
    ):
        assert text in printed
    saved = json.loads((folder / "ram" / "diagnosis.json").read_text())
    assert (
        saved["split"] == "validation"
        and saved["after_step"] == 2
        and set(saved["by_locations"]) == set(saved["names"])
    )
    page = (folder / "ram" / "report.html").read_text()
    assert (folder / "ram" / "plots" / "diagnosis.png").exists() and "<h3>Diagnosis" in page
    assert page.count("whole image (cnn)") == 1


@pytest.mark.parametrize(
    "args, said",
    [
        ("cnn", "run 'cnn': a model that chooses no locations cannot be diagnosed"),
        ("random", "run 'random': its locations are 'random', and only learned ones compare"),
        ("missing", "'missing' holds no config.json"),
        ("ram --classifier ram", "classifier 'ram': give a run on 'cluttered60' that sees the whole image"),
        ("ram --episodes 0", "episodes 0: must be at least 1"),
        ("ram --split train", "--split 'train': must be one of validation, test"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, capsys, args, said):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        diagnose.main(args.split())
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line and line.startswith("error: ")


def test_an_agent_that_reads_sequences_is_refused(monkeypatch, capsys):
    reader = SimpleNamespace(built=SimpleNamespace(attention=SimpleNamespace(sequence=Sequence(1))))
    monkeypatch.setattr(diagnose, "read_run", lambda run_dir, load: reader)
    with pytest.raises(SystemExit, match="2"):
        diagnose.main(["run"])
    assert "a model that reads sequences cannot be diagnosed" in capsys.readouterr().err
