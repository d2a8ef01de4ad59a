"""Whole experiments from the command line: the files of a run."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from common.networks.image_classifiers import ClassifierConfig
from common.training.checkpoints import Checkpoints
from experiments import cnn, evaluate, ram
from experiments.families.cnn import CnnExperiment
from experiments.output.readouts import READOUTS, readout_name
from experiments.plots.episode_files import read_episodes
from experiments.training.config import to_json
from experiments.training.metrics_file import MetricsWriter, read_metrics
from experiments.training.run_directory import read_json
from tests.docs.pages import unexplained_files, unexplained_names
from tests.experiments.edited_json import edit_json
from tests.experiments.training.small_runs import CNN, RAM

ROOT = Path(__file__).parents[3]


# -- What a run leaves behind. --

KEYS = (
    *(
        "task",
        "family",
        "preset",
        "config",
        "code",
        "seed",
        "commit",
        "device",
        "jax_version",
        "starts",
        "wall_seconds",
    ),
    *("steps", "episodes", "parameters", "validation", "test"),
)
METHODS = ("greedy", "sampled", "average_probability", "average_log_probability")
FILES = ["checkpoints", "config.json", "events", "images.json", "metrics.jsonl", "results.json", "starts.json"]


def check_errors(results, methods, images):
    for split in ("validation", "test"):
        assert tuple(results[split]) == methods
        for entry in results[split].values():
            assert tuple(entry) == ("error", "low", "high", "n") and entry["n"] == images
            assert 0 <= entry["low"] <= entry["error"] <= entry["high"] <= 100
            wrong = entry["error"] * images / 100
            assert wrong == pytest.approx(round(wrong)), "per cent of the images"


class Ended(NamedTuple):
    """Train a run; return its folder and its output."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def agent_run(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent") / "run"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ram.main([*RAM, "--replicates", "2", "--plots", "--data", str(images), "--run-dir", str(folder)])
    return Ended(folder, out.getvalue(), err.getvalue())


def test_results_of_an_agent_have_every_read_out(agent_run):
    results, config = read_json(agent_run.folder / "results.json"), read_json(agent_run.folder / "config.json")
    assert tuple(results) == KEYS
    assert config == {name: results[name] for name in ("family", "preset", "config", "code")}
    assert (results["task"], results["family"], results["preset"], results["seed"]) == (
        "images",
        "ram",
        "cluttered60_dense",
        5,
    )
    assert (results["steps"], results["episodes"]) == (4, 4 * 8 * 2) and results["wall_seconds"] > 0
    # Glimpse network, core, location, classes and baseline, weights and biases by hand.
    glimpse = (2 * 4 * 4 * 8 + 8) + (2 * 8 + 8) + (8 * 16 + 16) + (8 * 16 + 16)
    recurrent = (16 * 16 + 16) + (16 * 16 + 16)
    assert results["parameters"] == glimpse + recurrent + (16 * 2 + 2) + (16 * 3 + 3) + (16 + 1)
    assert results["jax_version"] == jax.__version__ and "output" not in results["config"]
    assert results["config"]["model"]["agent"]["core_hidden"] == 16
    check_errors(results, METHODS, 15)


def test_the_run_directory_holds_every_file(agent_run):
    folder = agent_run.folder
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "plots", "report.html"])
    assert [record["step"] for record in read_metrics(folder)] == [2, 4]
    assert list((folder / "events").glob("*tfevents*"))
    assert Checkpoints(folder / "checkpoints").steps() == [2, 4]
    assert {"episodes.gif", "episodes.json", "learning_curves.png"} <= {p.name for p in (folder / "plots").iterdir()}


def test_the_reference_explains_every_metric_and_every_file(agent_run):
    assert unexplained_names(agent_run.folder) == set() and unexplained_files(agent_run.folder) == []


def test_episodes_of_the_report_have_the_rewards_of_the_run(agent_run):
    results = read_json(agent_run.folder / "results.json")
    assert results["config"]["model"]["estimator"]["reward"] == "gain"
    episodes = read_episodes(agent_run.folder / "plots" / "episodes.json")
    of_label = np.take_along_axis(episodes.probabilities, episodes.labels[None, :, None], axis=-1)[..., 0]
    # The gains so far are the belief in the true class, against a uniform one.
    np.testing.assert_allclose(np.exp(episodes.rewards.cumsum(axis=0)) / 3, of_label, atol=2e-4)


def test_a_run_prints_progress_errors_and_paths(agent_run):
    folder, out, err = agent_run
    accuracy = 100 - read_json(folder / "results.json")["test"]["average_probability"]["error"]
    report = f"report: {folder / 'report.html'}\n"
    assert out.endswith(f"test accuracy: {accuracy:.2f}% (mean of 3)\n" + report)
    assert "\x1b" not in out + err and "\r" not in out + err
    images, summary, *progress = err.splitlines()
    assert images.startswith("images: ") and "3 classes; train 120, validation 15 (from train), test 15 (from" in images
    assert "12x12x1, 3 classes; 2 glimpses of 2 x 4x4, rnn, M = 2, sigma 0.5 (3 px) to 0.1667 (1 px)" in summary
    assert [line.split(" ")[0] for line in progress] == ["step", "step", "evaluating", "drawing"]
    record = next(record for record in read_metrics(folder) if "validation_error" in record)
    message = "validation error {validation_error:.2f}% (greedy {validation_greedy_error:.2f}%)".format(**record)
    assert message in progress[0] and "validation_sampled_error" in record


def errors_in(table):
    """Return the numbers of a printed table by read-out."""
    rows = [row.strip("│ ").split("│") for row in table.splitlines() if row.startswith("│")]
    words = {readout_name(method, 3): method for method in READOUTS}
    return {words[name.strip()]: [float(x) for x in re.findall(r"[\d.]+", "".join(r))] for name, *r in rows}


def test_evaluate_prints_the_errors_of_the_results(agent_run, capsys):
    results = read_json(agent_run.folder / "results.json")
    evaluate.main([str(agent_run.folder)])
    printed = errors_in(capsys.readouterr().out)
    assert list(printed) == list(METHODS)
    for method, numbers in printed.items():
        entries = [results[split][method] for split in ("validation", "test")]
        assert numbers == [round(entry[name], 2) for entry in entries for name in ("error", "low", "high")]


def test_an_interrupted_agent_resumes_to_the_same_bits(agent_run, go, monkeypatch, capsys):
    append, flags = MetricsWriter.append, [*RAM, "--replicates", "2"]

    def append_and_interrupt(self, record):
        append(self, record)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
        patched.setattr(MetricsWriter, "append", append_and_interrupt)
        go(ram, flags)
    assert stop.value.code == 130 and "stopped after step 2, which is saved" in capsys.readouterr().err
    go(ram, flags, "--resume")
    digests = [read_json(f / "checkpoints" / "4" / "digest.json")["state"] for f in (Path("run"), agent_run.folder)]
    results = [read_json(f / "results.json") for f in (Path("run"), agent_run.folder)]
    assert digests[0] == digests[1]
    assert all(results[0][split] == results[1][split] for split in ("validation", "test"))


def test_ctrl_c_after_training_prints_the_resume_command(go, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
        patched.setattr("experiments.runs.run.evaluate", interrupt)
        go(cnn, CNN)
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 130 and line.startswith("interrupted; resume with: ") and line.endswith(" --resume")
    go(cnn, CNN, "--resume")
    assert read_json(Path("run/results.json"))["steps"] == 4


def test_a_run_that_began_with_a_setting_without_effect_is_resumed(go):
    go(cnn, CNN)
    edit_json(Path("run/config.json"), '"momentum": 0.9', '"momentum": 0.5')
    go(cnn, CNN, "--momentum", "0.5", "--resume")


def test_ctrl_c_has_its_default_effect_while_a_command_imports():
    code = "import signal, experiments; print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)"
    for argv, default in ((["-m"], True), (["program"], False)):
        script = f"import sys; sys.argv = {argv}; {code}"
        process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert process.stdout.strip() == str(default)


def test_ctrl_c_before_training_is_one_line(go, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.training.config.load_task", interrupt)
    with pytest.raises(SystemExit) as stop:
        go(cnn, CNN)
    assert stop.value.code == 130 and capsys.readouterr().err == "interrupted before the first step\n"
    assert not Path("run").exists()


def test_too_little_memory_of_the_device_is_one_line(go, monkeypatch, capsys):
    def exhaust(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore\nlines")

    for place, message in (("begin", "8 bytes."), ("evaluate", "--resume")):
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
            patched.setattr(f"experiments.runs.run.{place}", exhaust)
            go(cnn, CNN)
        line = capsys.readouterr().err.splitlines()[-1]
        assert stop.value.code == 2 and line.startswith("error: RESOURCE_EXHAUSTED: Out of memory")
        assert line.endswith(message) and "more" not in line


def test_a_classifier_has_only_the_greedy_error(go, capsys):
    go(cnn, CNN, "--plots")
    results = read_json(Path("run/results.json"))
    assert tuple(results) == KEYS and results["family"] == "cnn" and results["episodes"] == 4 * 8
    assert results["parameters"] == (144 * 8 + 8) + (8 * 8 + 8) + (8 * 3 + 3)
    check_errors(results, ("greedy",), 15)
    assert unexplained_names(Path("run")) == set()
    assert sorted(path.name for path in Path("run").iterdir()) == sorted([*FILES, "plots", "report.html"])
    out = capsys.readouterr().out
    assert f"test accuracy: {100 - results['test']['greedy']['error']:.2f}%\n" in out
    assert "single pass" in Path("run/report.html").read_text()


def test_saved_configuration_is_the_preset_with_the_flags(go):
    go(cnn, CNN)
    saved = read_json(Path("run/config.json"))["config"]
    assert json.loads(json.dumps(to_json(CnnExperiment()))).keys() == saved.keys()
    assert saved["training"]["steps"] == 4 and saved["model"] == to_json(ClassifierConfig("fc", 8))


def test_the_default_folder_names_family_preset_and_seed(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cnn.main([*CNN, "--data", str(images)])
    assert [str(path) for path in Path("runs").iterdir()] == ["runs/cnn-mnist28-seed5"]


def test_an_existing_run_needs_resume_or_overwrite(go, refused, capsys):
    go(cnn, CNN)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    assert "'run' exists: give --resume" in refused(cnn, CNN)
    line = refused(cnn, CNN, "--steps", "2", "--resume")
    assert "another configuration: its config.training.steps is 4, now 2" in line
    assert {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")} == before
    go(cnn, CNN, "--steps", "6", "--overwrite")
    assert read_json(Path("run/results.json"))["steps"] == 6


def test_a_step_that_is_not_finite_is_one_line(refused):
    flags = ["--optimizer", "sgd", "--learning-rate", "1e30", "--gradient-clip", "0", "--schedule", "constant"]
    line = refused(cnn, CNN, *flags, "--steps", "8")
    assert "is not finite; last good checkpoint: " in line and line.startswith("error: step ")
    assert not Path("run/results.json").exists()
    step = int(line.split()[2].strip(":"))
    assert all(saved < step for saved in Checkpoints(Path("run/checkpoints")).steps())


def test_a_user_reward_that_is_not_finite_is_one_line(refused, tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "import jax.numpy as jnp\ndef bad(logits, labels):\n    return jnp.full(logits.shape[:-1], jnp.nan)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = refused(ram, RAM, "--reward", "my_rewards:bad")
    assert line.startswith("error: step 1: ") and line.endswith(
        "is not finite; last good checkpoint: none; the origin may be code of your own, my_rewards:bad"
    )


# -- Disks that are full. --
