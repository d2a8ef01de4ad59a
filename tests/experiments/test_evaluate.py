"""Evaluation of a trained run: errors of the best or the last parameters, and one line where there is no run."""

import json
import re
import shutil

import numpy as np
import pytest

from common.training.checkpoints import Checkpoints
from experiments import cnn, evaluate
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from tests.experiments.edited_json import edit_json

LAST = 8
FLAGS = (
    "mnist28 --task images --network fc --units 8 --no-plots --batch-size 8 --log-every 2 --evaluate-every 2 --shift 0"
    f" --steps {LAST} --optimizer adam --learning-rate 0.1 --seed 1"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    # Noise teaches nothing, so the best parameters are not the last.
    noise = np.random.default_rng(0).integers(0, 256, (150, 4, 4), dtype=np.uint8)
    np.savez(folder / "images.npz", images=noise, labels=np.arange(150) % 3)
    cnn.main([*FLAGS, "--data", str(folder / "images.npz"), "--run-dir", str(folder / "run")])
    return folder / "run"


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command which must end with status 2 and one line, and returns the line."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        *warnings, line = err.splitlines()
        assert stop.value.code == 2 and out == "" and line.startswith("error: ")
        assert all(warning.startswith("images: ") or "cannot be read" in warning for warning in warnings)
        return line

    return call


def row(entries):
    return "│ " + " │ ".join(f"{e['error']:.2f} [{e['low']:.2f}, {e['high']:.2f}]" for e in entries)


def test_errors_are_those_of_the_results_and_files_are_unchanged(run_dir, capsys):
    before = sorted((path, path.is_file() and path.read_bytes()) for path in run_dir.rglob("*"))
    evaluate.main([str(run_dir)])
    out, err = capsys.readouterr()
    results = read_json(run_dir / "results.json")
    assert row([results["validation"]["greedy"], results["test"]["greedy"]]) in out
    best = min(read_metrics(run_dir), key=lambda record: record.get("validation_error", np.inf))["step"]
    assert best < LAST and f"; after step {best}\n" in err and len(err.splitlines()) == 2
    assert sorted((path, path.is_file() and path.read_bytes()) for path in run_dir.rglob("*")) == before


def test_the_best_parameters_are_evaluated_unless_last_is_set(run_dir, capsys):
    errors = {record["step"]: record["validation_error"] for record in read_metrics(run_dir)}
    assert min(errors.values()) < errors[LAST], "the best parameters must not be the last for this test"
    best = min(errors, key=errors.get)
    for flags, step in [([], best), (["--last"], LAST)]:
        evaluate.main([str(run_dir), *flags])
        out, err = capsys.readouterr()
        assert re.search(rf"│ single pass +│ {errors[step]:.2f} \[", out) and f"; after step {step}\n" in err


def test_plots_redraws_the_plots_and_the_report(run_dir, capsys):
    evaluate.main([str(run_dir), "--plots"])
    assert f"report: {run_dir / 'report.html'}" in capsys.readouterr().out
    assert (run_dir / "report.html").exists() and (run_dir / "plots" / "confusion.png").exists()


def test_an_earlier_checkpoint_is_used_if_the_latest_is_damaged(run_dir, capsys):
    (run_dir / "checkpoints" / str(LAST) / "digest.json").unlink()
    evaluate.main([str(run_dir), "--last"])
    _, warning, summary = capsys.readouterr().err.splitlines()
    assert f"checkpoints/{LAST}' cannot be read" in warning and f"; after step {LAST - 2}" in summary


def test_errors_are_written_to_the_output_file(run_dir, tmp_path, capsys):
    before = read_json(run_dir / "results.json")
    evaluate.main([str(run_dir), "--output", str(tmp_path / "errors.json")])
    written = read_json(tmp_path / "errors.json")
    assert {split: written[split] for split in ("validation", "test")} == {
        split: before[split] for split in ("validation", "test")
    }
    assert written["after_step"] < LAST and {"run", "commit", "device", "jax_version"} <= written.keys()
    assert f"results: {tmp_path / 'errors.json'}" in capsys.readouterr().out


def test_an_output_that_is_a_folder_is_refused(run_dir, refused):
    assert refused(run_dir, "--output", str(run_dir)).startswith(f"error: output {str(run_dir)!r}: must be a file")


def test_last_with_plots_is_refused(run_dir, refused):
    assert refused(run_dir, "--last", "--plots").startswith("error: plots True with last: ")


@pytest.mark.parametrize("flags", [["--episodes", "0"], ["--batch-size", "-1"]])
def test_counts_below_one_are_refused(run_dir, refused, flags):
    name = flags[0][2:].replace("-", "_")
    assert refused(run_dir, *flags) == f"error: {name} {flags[1]}: must be at least 1"


def test_episodes_are_refused_for_a_network_that_sees_the_whole_image(run_dir, refused):
    assert refused(run_dir, "--episodes", "5").startswith("error: episodes 5: this run sees whole images")


def test_a_folder_without_a_run_is_refused(tmp_path, run_dir, refused):
    (tmp_path / "empty").mkdir()
    assert "'quikc': did you mean 'quick'?" in refused("quikc")
    for folder in ("empty", "run/config.json"):
        assert f"{str(tmp_path / folder)!r} holds no config.json: give the directory of a run" in refused(
            tmp_path / folder
        )
    assert "run_dir is not given" in refused()
    assert "--nothing" in refused(run_dir, "--nothing")
    shutil.rmtree(run_dir / "checkpoints")
    assert f"{str(run_dir)!r} holds no checkpoint yet" in refused(run_dir)
    assert not (run_dir / "checkpoints").exists()


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(run_dir, refused):
    for step in Checkpoints(run_dir / "checkpoints").steps():
        (run_dir / "checkpoints" / str(step) / "digest.json").write_text("{}")
    assert "no checkpoint of 2 can be read" in refused(run_dir)


def change(part, name, value):
    return lambda tree: {**tree, "config": {**tree["config"], part: {**tree["config"][part], name: value}}}


DAMAGE = [
    lambda tree: None,
    lambda tree: [],
    lambda tree: {},
    lambda tree: {**tree, "family": "resnet"},
    lambda tree: {**tree, "family": ["fc"]},
    lambda tree: {**tree, "config": None},
    lambda tree: {**tree, "config": {**tree["config"], "extra": 1}},
    lambda tree: {**tree, "config": {**tree["config"], "training": 7}},
    change("training", "batch_size", "8"),
    change("training", "batch_size", 0),
    change("training", "seed", 1.5),
    change("optimizer", "optimizer", "none"),
    change("optimizer", "learning_rate", None),
    change("optimizer", "momentum", 2.0),
    change("model", "network", "resnet"),
    change("data", "data", "gone.npz"),
    change("data", "task", 7),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_configuration_is_one_line(run_dir, refused, damage):
    path = run_dir / "config.json"
    path.write_text(json.dumps(damage(read_json(path))))
    refused(run_dir)


@pytest.mark.parametrize("text", ["", '{"family": "cnn"', "\x00"])
def test_a_configuration_that_is_not_json_is_one_line(run_dir, refused, text):
    (run_dir / "config.json").write_text(text)
    assert "config.json' cannot be read" in refused(run_dir)


def test_a_configuration_of_another_network_is_one_line(run_dir, refused):
    edit_json(run_dir / "config.json", '"units": 8', '"units": 9')
    assert "no checkpoint of 2 can be read" in refused(run_dir)
