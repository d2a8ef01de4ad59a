"""The code of the tutorials runs as it stands."""

import re
from pathlib import Path

import matplotlib
import numpy as np

from common.policy_gradient import EstimatorConfig, make_estimator
from common.policy_gradient.estimator_checks import check_estimator

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"


def python_of(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (TUTORIALS / page).read_text(), flags=re.DOTALL))


def test_the_loop_of_your_own_trains_evaluates_and_draws(tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(python_of("a_loop_of_your_own.md"), "a_loop_of_your_own.md", "exec"), names)
    assert (tmp_path / "glimpses.png").stat().st_size > 5_000
    assert np.isfinite(names["metrics"]["loss"]).all() and names["metrics"]["loss"].shape == (2,)
    assert all(0 < names["errors"][name]["error"] < 100 for name in ("greedy", "average_probability"))
    assert names["glimpses"].shape == (4, 3, 1, 8, 8, 1)


def test_the_estimator_is_unbiased_and_has_the_values_of_the_page(capsys):
    names: dict = {}
    exec(compile(python_of("write_an_estimator.md"), "write_an_estimator.md", "exec"), names)
    assert capsys.readouterr().out.split() == ["[", "1.", "-1.", "-1.", "1.]"]
    estimator = make_estimator(EstimatorConfig(advantage="leave_one_out", replicates=4))
    results = list(check_estimator(estimator._replace(advantage=names["leave_one_out_median"])))
    assert {each.outcome for each in results} <= {"passed", "skipped"}


def test_the_differences_that_exclude_zero_are_printed(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "runs" / "glimpses"
    folder.mkdir(parents=True)
    study = TUTORIALS.parents[1] / "results" / "studies" / "glimpses" / "differences.csv"
    (folder / "differences.csv").write_bytes(study.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(python_of("ablate_glimpses_and_sigma.md"), "ablate_glimpses_and_sigma.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines and not any("[-" in line and ", +" in line for line in lines)
