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
