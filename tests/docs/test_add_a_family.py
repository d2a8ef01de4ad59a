"""The family of the how-to page trains, resumes, evaluates, is swept and reports, without a change elsewhere."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import ablate, evaluate, train

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add_a_family.md"
FAMILY = "linear_family:FAMILY"
FLAGS = (
    "--task images --data images.npz --steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --validation-episodes 1"
    " --eval-episodes 1"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the module of the page and images in three classes, as the current one."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(code.splitlines()) < 80
    (tmp_path / "linear_family.py").write_text(code)
    images = np.random.default_rng(0).integers(0, 255, (90, 12, 12), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(90) % 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("linear_family", None)
    yield tmp_path
    sys.modules.pop("linear_family", None)


def results(run_dir="run"):
    return json.loads(Path(run_dir, "results.json").read_text())


def test_it_trains_resumes_starts_from_a_run_and_reports(capsys):
    train.main([FAMILY, "mnist28", *FLAGS.split(), "--run-dir", "run"])
    whole = results()
    assert whole["family"] == FAMILY and whole["parameters"] == 145 * 3 and list(whole["test"]) == ["greedy"]
    page = Path("run/report.html").read_text()
    assert "linear_family" in page and "pixel_scale" in page

    for path in ("run/results.json", "run/checkpoints/4"):
        Path(path).rename(Path(path).with_name("kept"))
    train.main([FAMILY, "mnist28", *FLAGS.split(), "--run-dir", "run", "--resume", "--no-plots"])
    assert results()["test"] == whole["test"] and [start["step"] for start in results()["starts"]] == [0, 2]

    capsys.readouterr()
    evaluate.main(["run"])
    assert f"{whole['test']['greedy']['error']:.2f}" in capsys.readouterr().out

    train.main([FAMILY, "mnist28", *FLAGS.split(), "--init-from", "run", "--run-dir", "next", "--no-plots"])
    assert results("next")["config"]["start"]["init_from"] == "run"


def test_it_is_swept():
    ablate.main([FAMILY, "--preset", "mnist28", *FLAGS.split(), "--pixel-scale", "0.5", "1", "--sweep-dir", "sweep"])
    assert len(list(Path("sweep/cells").glob("*/results.json"))) == 2
    assert "linear_family:FAMILY" in Path("sweep/report.html").read_text()


def test_the_report_of_a_stochastic_model_names_its_readouts(folder):
    page = (folder / "linear_family.py").read_text()
    (folder / "linear_family.py").write_text(page.replace("loss, predict)", "loss, predict, stochastic=True)"))
    flags = FLAGS.replace("--validation-episodes 1", "--validation-episodes 4").replace("-episodes 1", "-episodes 10")
    train.main([FAMILY, "mnist28", *flags.split(), "--run-dir", "run"])
    text = Path("run/report.html").read_text()
    for readout in ("greedy", "one episode", "mean of four"):
        assert f"validation error, {readout} (%)" in text
    assert ">greedy<" in text and ">one episode<" in text and ">mean of ten<" in text


METRICS = '{"loss": value, "accuracy": (logits.argmax(-1) == labels).mean()}'
LOSS = "the loss function of the model"
PREDICT = "the predict function of the model returned"
BUILT = "return BuiltModel(model, "


@pytest.mark.parametrize(
    ("code", "changed", "message"),
    [
        ("return value, (metrics, ", "return value, (", f"{LOSS}, after the loss, returned (): must return the pair"),
        ("return value, (metrics, step_input.estimator_state)", "return value", f"{LOSS} returned float32[]: must"),
        (METRICS, '{"loss": value}', f"{LOSS} returned the metrics {{loss: float32[]}}: must have loss and accuracy"),
        (METRICS, "None", f"{LOSS} returned the metrics None: must have loss and accuracy"),
        ("== labels).mean()", "== labels)", f"{LOSS}, as the metric accuracy, returned bool[8]: must return one"),
        ("logits, labels).mean()", "logits, labels)", f"{LOSS} returned float32[8]: must return one floating-point"),
        (
            "step_input.estimator_state)",
            "0.0)",
            f"{LOSS} returned the state float: must be as it was given, ()",
        ),
        (
            "loss, predict)",
            "loss, lambda *inputs: None)",
            f"{PREDICT} None: must return floating-point numbers [B, num",
        ),
        ("loss, predict)", "loss, lambda *inputs: predict(*inputs)[:3])", f"{PREDICT} float32[3, 3]: must return"),
        (BUILT, "return (model, ", "the build of family 'linear_family:FAMILY' returned ("),
        (
            "pixel_scale: float",
            "steps: float",
            "LinearExperiment has two fields 'steps', model.steps and training.step",
        ),
        (
            '"mnist28": ("MNIST 28x28.", ',
            '"mnist28": (',
            "its preset 'mnist28' is LinearExperiment: must be the pair",
        ),
        ("experiment=LinearExperiment", "experiment=LinearConfig", "LinearConfig'>: must be a class derived from Exp"),
    ],
)
def test_a_family_with_something_wrong_is_refused_in_one_line(folder, unchecked, capsys, code, changed, message):
    page = (folder / "linear_family.py").read_text()
    assert code in page
    (folder / "linear_family.py").write_text(page.replace(code, changed))
    with pytest.raises(SystemExit, match="2"):
        train.main([FAMILY, "mnist28", *FLAGS.split(), "--run-dir", "run"])
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and not Path("run").exists()


@pytest.mark.parametrize("value", ['{"weights": jnp.zeros(2)}', "None", "[1]"])
def test_a_measure_that_is_no_json_is_one_line(folder, capsys, value):
    page = (folder / "linear_family.py").read_text()
    page = page.replace('regression", draw)', f'regression", draw, lambda params: {value})')
    (folder / "linear_family.py").write_text(page)
    with pytest.raises(SystemExit, match="2"):
        train.main([FAMILY, "mnist28", *FLAGS.split(), "--run-dir", "run", "--no-plots"])
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the measure of the model returned ") and "must return a dictionary of JSON" in line
    assert not Path("run/results.json").exists() and Path("run/checkpoints/4").exists()


def test_a_field_with_a_name_of_the_sweep_is_refused(folder, capsys):
    page = (folder / "linear_family.py").read_text()
    (folder / "linear_family.py").write_text(page.replace("pixel_scale", "jobs"))
    with pytest.raises(SystemExit, match="2"):
        ablate.main([FAMILY, "--preset", "mnist28", "--help"])
    assert "has two fields 'jobs', axes.model.jobs and options.jobs" in capsys.readouterr().err


def test_what_is_no_family_is_one_line(capsys):
    for name, message in {
        "linear_family:ABSENT": "module 'linear_family' has no 'ABSENT'",
        "linear_family:LinearConfig": "not a Family",
        "absent_module:FAMILY": "No module named 'absent_module'",
        "lin": "unknown family 'lin'",
    }.items():
        with pytest.raises(SystemExit) as stop:
            train.main([name, "mnist28"])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and message in err and err.count("\n") == 1
