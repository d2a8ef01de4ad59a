"""Whole sweeps of stand-in cells: their files, resuming, new values, failures."""

import csv
import json
import re
from pathlib import Path

import pytest

from experiments.sweeps import local
from experiments.sweeps.directory import open_sweep

FILES = ["differences.csv", "results.csv", "times.csv", "report.html", "sweep.json"]


def rows(name):
    with Path("s", name).open() as file:
        return list(csv.DictReader(file))


def wrong(units, seed):
    """Return the error of a stand-in cell, as in `fake_cell`."""
    return 10 + units + 0.5 * seed + 0.25 * (units * seed % 3)


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the figures of sweeps out, which take most of the time of small ones."""
    monkeypatch.setattr("experiments.sweeps.report.draw", lambda *args: [])


def test_a_sweep_leaves_tables_figures_and_a_report(sweep, fake):
    status, out, err = sweep.run("--units", "8", "4", "--seeds", "2")
    assert status == 0 and all(Path("s", name).is_file() for name in FILES)
    errors = [(int(row["units"]), int(row["seed"]), float(row["test_greedy_error"])) for row in rows("results.csv")]
    assert errors == [(units, seed, wrong(units, seed)) for units in (8, 4) for seed in (0, 1)]
    assert not any(word in Path("s/results.csv").read_text() for word in ("seconds", "device", "commit"))
    assert [row["device"] for row in rows("times.csv")] == ["none"] * 4
    assert sorted(path.name for path in Path("s/figures").iterdir()) == ["error_units.png", "learning_curves.png"]
    assert json.loads(Path("s/sweep.json").read_text())["axes"] == [{"names": ["units"], "values": [[8], [4]]}]
    for row in rows("results.csv"):
        assert (Path("s/cells", row["cell"], "log.txt")).is_file()
    assert out.endswith("report: s/report.html\n") and "4 cells: 4 finished" in out
    images, begun, *progress = err.splitlines()
    assert images.startswith("images: ") and begun == "s: 4 cells, 0 finished before"
    assert [re.sub(r" in [\d.]+ s", "", line) for line in progress[:2]] == [
        *["units 8, seed 0: running", f"[1/4] units 8, seed 0: finished, test error {wrong(8, 0):.2f}%,"]
    ]
    assert "\x1b" not in out + err


def test_finished_cells_are_kept_and_only_new_values_run(sweep, fake, undrawn):
    sweep.run("--units", "4", "8", "--seeds", "2")
    before = {path: path.stat().st_mtime_ns for path in Path("s/cells").rglob("*")}
    assert sweep.run("--units", "4", "8", "--seeds", "2")[0] == 0 and len(fake.starts()) == 4
    _, _, err = sweep.run("--units", "4", "6", "8", "--seeds", "2")
    assert fake.starts()[4:] == ["6 0", "6 1"] and "6 cells, 4 finished before" in err
    assert sweep.run("--units", "4", "6", "8", "--seed", "0", "1", "5")[0] == 0
    assert fake.starts()[6:] == ["4 5", "6 5", "8 5"] and len(rows("results.csv")) == 9
    assert {path: path.stat().st_mtime_ns for path in before} == before
    _, _, err = sweep.run("--units", "4")
    assert "8 finished cells of other settings stay in the folder" in err and len(rows("results.csv")) == 1


def test_results_are_the_same_after_kills_and_stops(sweep, fake, undrawn):
    line = ["--units", "4", "8", "16", "--seeds", "2"]
    sweep.run("--units", "16")
    fake.set("kill-8", "stop-4")
    assert sweep.run(*line)[0] == 130
    assert sweep.run(*line)[0] == 1
    assert sweep.run(*line, "--jobs", "3")[0] == 0
    resumed = {name: Path("s", name).read_bytes() for name in ("results.csv", "differences.csv")}
    assert sweep.run(*line, "--sweep-dir", "undisturbed")[0] == 0
    assert resumed == {name: Path("undisturbed", name).read_bytes() for name in resumed}


def test_a_failed_cell_is_reported_and_runs_again_in_the_next_sweep(sweep, fake, undrawn):
    fake.set("fail-8")
    status, out, err = sweep.run("--units", "8", "4", "--seeds", "2")
    assert status == 1 and [row["units"] for row in rows("results.csv")] == ["4", "4"]
    reason = "step 3: loss is not finite; last good checkpoint: none"
    last = err.splitlines()[-2:]
    for seed, line in enumerate(last):
        log = re.fullmatch(rf"failed: units 8, seed {seed}: {re.escape(reason)} \(log: (.*)\)", line)[1]
        assert "not finite" in Path(log).read_text()
    assert reason in " ".join(re.sub("[│]", " ", out).split())
    assert "4 cells: 2 finished, 2 failed" in out and reason in Path("s/report.html").read_text()
    (fake.folder / "fail-8").unlink()
    assert sweep.run("--units", "8", "4", "--seeds", "2")[0] == 0
    assert fake.starts()[4:] == ["8 0", "8 1"]


def test_ctrl_c_prints_the_command_that_resumes(sweep, fake, undrawn):
    fake.set("stop-8")
    status, _, err = sweep.run("--units", "4", "8", "--seeds", "2")
    line = err.splitlines()[-1]
    assert status == 130 and line.startswith("stopped; resume with: ")
    assert " -m experiments.ablate cnn --preset mnist28 " in line and line.endswith("--units 4 8 --seeds 2")
    assert len(rows("results.csv")) == 2 and Path("s/report.html").is_file()
    assert sweep.run("--units", "4", "8", "--seeds", "2")[0] == 0 and fake.starts()[2:] == ["8 0", "8 0", "8 1"]


def test_dry_run_lists_the_cells(sweep, fake):
    status, out, _ = sweep.run("--units", "4", "8", "--seeds", "2", "--dry-run")
    listed = [[text.strip() for text in line.strip("│").split("│")][:2] for line in out.splitlines() if "seed" in line]
    assert status == 0 and listed[1:] == [["4", "0"], ["4", "1"], ["8", "0"], ["8", "1"]]
    assert fake.starts() == [] and not Path("s").exists()


def test_a_study_in_a_file_is_run(sweep, fake, images):
    fixed = {"task": "images", "network": "fc", "steps": 4, "batch_size": 8, "data": str(images)}
    study = f"Study('cnn', 'mnist28', zipped=[{{'units': [4, 8], 'weight_decay': [0.5, 0.6]}}], overrides={fixed})"
    Path("width.py").write_text(f"from experiments.sweeps.study import Study\nWIDTH = {study}\n")
    assert sweep("study", "width.py")[0] == 0
    with Path("runs/ablate-width/results.csv").open() as file:
        assert [(row["units"], row["weight_decay"]) for row in csv.DictReader(file)] == [("4", "0.5"), ("8", "0.6")]
    assert Path("runs/ablate-width/figures/error_units_weight_decay.png").exists()


def test_the_default_folder_is_named_by_family_preset_and_fields(sweep, fake):
    line = [flag for flag in sweep.base if flag not in ("--sweep-dir", "s")]
    sweep(*line, "--units", "4", "8")
    sweep(*line, "--units", "4", "--name", "mine")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["ablate-cnn-mnist28-units", "ablate-mine"]


def test_the_folder_of_another_sweep_or_of_one_in_use_is_refused(sweep, fake, monkeypatch):
    sweep.run("--units", "4")
    other = [flag if flag != "mnist28" else "translated60" for flag in sweep.base]
    status, _, err = sweep(*other, "--units", "4")
    assert status == 2 and "belongs to a sweep of the preset 'mnist28', now 'translated60'" in err

    def open_while_in_use(cells, folder, *more, **options):
        plan = open_while_in_use.plan
        with pytest.raises(ValueError, match="'s' is in use by another sweep"), open_sweep(Path("s"), plan):
            pass

    def open_and_remember(folder, plan):
        open_while_in_use.plan = plan
        return open_sweep(folder, plan)

    monkeypatch.setattr("experiments.sweeps.driver.open_sweep", open_and_remember)
    monkeypatch.setattr(local, "execute", open_while_in_use)
    sweep.run("--units", "8")
    assert hasattr(open_while_in_use, "plan")
