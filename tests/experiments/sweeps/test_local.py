"""The local launcher, with stand-in cells: shares of the cores, failures, kills, stops."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from experiments.sweeps import local
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.launchers import Stop
from experiments.sweeps.local import core_groups, split_cells
from experiments.sweeps.logs import last_error, log_path, open_log
from experiments.sweeps.study import Study, make_plan


@pytest.mark.parametrize(
    "cores, jobs, expected",
    [
        ([0, 1, 2, 3], 1, [(0, 1, 2, 3)]),
        ([0, 1, 2, 3], 2, [(0, 1), (2, 3)]),
        ([4, 5, 6, 7, 8], 2, [(4, 5), (6, 7)]),
        ([1, 3], 3, [(1,), (3,), (1,)]),
    ],
)
def test_all_shares_have_the_same_size(cores, jobs, expected):
    assert core_groups(cores, jobs) == expected


@pytest.fixture
def run(tmp_path, fake):
    """Return a function that runs cells with these units, and returns their statuses: (units, seed, state, detail)."""
    sweep = tmp_path / "s"
    (sweep / "cells").mkdir(parents=True)

    def call(*units, seeds=1, during=lambda cell, status: None, **options):
        plan = make_plan(Study("cnn", "mnist28", {"units": units}, seeds=seeds, overrides={"network": "fc"}))
        statuses = []

        def notify(cell, status):
            statuses.append((cell.value("units"), cell.seed, status.state, status.detail))
            during(cell, status)

        call.cells, call.sweep = plan.cells, sweep
        with Stop() as stop:
            local.execute(plan.cells, sweep, notify, stop, **options)
        return statuses

    return call


def test_one_job_runs_the_cells_in_order(run, fake):
    assert run(8, 4, seeds=2) == [
        (units, seed, state, "") for units in (8, 4) for seed in (0, 1) for state in ("running", "finished")
    ]
    assert fake.starts() == ["8 0", "8 1", "4 0", "4 1"]


def test_two_jobs_run_two_cells_at_a_time(run, fake):
    fake.set("wait-4", "wait-8")

    def release(cell, status):
        if len(fake.starts()) == 2 or (cell.value("units"), status.state) == (8, "running"):
            fake.set("go")

    statuses = run(4, 8, 16, jobs=2, during=release)
    assert [s[2] for s in statuses[:2]] == ["running", "running"] and [s[0] for s in statuses[:2]] == [4, 8]
    assert sorted(s[0] for s in statuses if s[2] == "finished") == [4, 8, 16]


def test_each_cell_runs_on_its_share_of_the_cores(run, fake, monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    run(4, 8, jobs=2)
    used = {re.search(r"cores \[(.*?)\]", (cell_folder(run.sweep, c) / "log.txt").read_text())[1] for c in run.cells}
    allowed = {", ".join(map(str, group)) for group in core_groups(cores, 2)}
    assert used <= allowed and sorted(os.sched_getaffinity(0)) == cores


def test_a_failed_cell_does_not_stop_the_others(run, fake):
    fake.set("fail-4")
    statuses = run(4, 8)
    assert statuses[1] == (4, 0, "failed", "step 3: loss is not finite; last good checkpoint: none")
    assert statuses[-1] == (8, 0, "finished", "")
    assert "loss is not finite" in (cell_folder(run.sweep, run.cells[0]) / "log.txt").read_text()


def test_a_killed_cell_is_reported_and_resumes_in_the_next_sweep(run, fake):
    fake.set("kill-8")
    assert run(8, 4)[1] == (8, 0, "failed", "killed by signal 9")
    assert run(8)[-1] == (8, 0, "finished", "")
    log = (cell_folder(run.sweep, run.cells[0]) / "log.txt").read_text()
    assert "resume False" in log and "resume True" in log, "both processes write to one log"


def test_a_folder_without_a_configuration_is_replaced(run, fake):
    run(8)
    folder = cell_folder(run.sweep, run.cells[0])
    for path in folder.iterdir():
        path.unlink()
    (folder / ".config.json.123.tmp").write_text('{"mod')
    run(8)
    assert read_results(run.sweep, run.cells[0]) and not (folder / ".config.json.123.tmp").exists()


def test_damaged_results_and_those_of_another_configuration_are_ignored(run, fake):
    run(4, 8)
    first, second = (cell_folder(run.sweep, cell) / "results.json" for cell in run.cells)
    text = first.read_text()
    first.write_text(second.read_text())
    assert read_results(run.sweep, run.cells[0]) is None
    first.write_text(text[:-9])
    assert read_results(run.sweep, run.cells[0]) is None
    first.write_text(text)
    assert read_results(run.sweep, run.cells[0])["parameters"] == 40


def test_results_that_lack_a_newer_field_count_with_its_default(run, fake):
    run(4, 8)
    for cell in run.cells:
        path = cell_folder(run.sweep, cell) / "results.json"
        results = json.loads(path.read_text())
        assert results["config"]["training"].pop("patience") == 0
        path.write_text(json.dumps(results))
        assert read_results(run.sweep, cell)["config"]["training"].keys().isdisjoint({"patience"})
    results["config"]["training"]["steps"] += 1
    path.write_text(json.dumps(results))
    assert read_results(run.sweep, cell) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_reaches_the_running_cell_once_and_no_other_starts(run, fake, number):
    (fake.folder / "stop-8").write_text(str(int(number)))
    statuses = run(4, 8, 16)
    assert statuses == [(4, 0, "running", ""), (4, 0, "finished", ""), (8, 0, "running", ""), (8, 0, "stopped", "")]
    assert (cell_folder(run.sweep, run.cells[1]) / "log.txt").read_text().splitlines()[-1] == "saved"


def test_a_cell_that_an_earlier_sweep_still_runs_is_waited_for(run, fake):
    run(8)
    folder = cell_folder(run.sweep, run.cells[0])
    results = folder.with_suffix(".kept")
    (folder / "results.json").rename(results)
    log = open_log(folder)

    def leave(cell, status):
        if status.state == "waiting" and not results.with_suffix(".ending").exists():
            results.with_suffix(".ending").touch()

            def end():
                results.rename(folder / "results.json")
                log.close()

            threading.Timer(0.1, end).start()

    statuses = run(8, during=leave)
    assert statuses[0] == (8, 0, "waiting", "for a process that an earlier sweep left running")
    assert statuses[-1] == (8, 0, "finished", "") and fake.starts() == ["8 0"]


def test_the_log_moves_into_the_run_directory(tmp_path):
    run_dir = tmp_path / "cell"
    with open_log(run_dir) as log:
        log.write(b"begun\n")
        assert log_path(run_dir) == tmp_path / "cell.log" and open_log(run_dir) is None
        run_dir.mkdir()
        (run_dir / "config.json").write_text("{}")
        assert log_path(run_dir) == run_dir / "log.txt" and open_log(run_dir) is None
    assert (run_dir / "log.txt").read_text() == "begun\n" and not (tmp_path / "cell.log").exists()


@pytest.mark.parametrize(
    "cells, jobs, expected", [(5, 2, ["abc", "de"]), (4, 2, ["ab", "cd"]), (2, 3, ["a", "b"]), (3, 1, ["abc"])]
)
def test_groups_are_in_order_and_of_about_the_same_size(cells, jobs, expected):
    plan = make_plan(Study("cnn", "mnist28", {}, seeds=cells))
    groups = ["".join("abcde"[cell.seed] for cell in group) for group in split_cells(plan.cells, jobs)]
    assert groups == expected


def test_cells_in_one_process_have_a_log_each(run, fake):
    statuses = run(8, 4, seeds=2, together="auto")
    assert [s[:2] for s in statuses if s[2] == "finished"] == [(8, 0), (8, 1), (4, 0), (4, 1)]
    assert fake.starts() == ["8 0", "8 1", "4 0", "4 1"] and {s[2] for s in statuses} <= {"running", "finished"}
    for cell in run.cells:
        assert (cell_folder(run.sweep, cell) / "log.txt").read_text().count("cores") == 1


def test_a_failed_cell_does_not_stop_others_in_its_process(run, fake):
    fake.set("fail-8")
    statuses = run(4, 8, 16, together="auto")
    assert (8, 0, "failed", "step 3: loss is not finite; last good checkpoint: none") in statuses
    assert sorted(s[0] for s in statuses if s[2] == "finished") == [4, 16]


def test_a_process_that_dies_fails_only_its_current_cell(run, fake):
    fake.set("kill-8")
    statuses = run(4, 8, 16, 32, together="auto")
    assert (8, 0, "failed", "killed by signal 9") in statuses
    assert sorted(s[0] for s in statuses if s[2] == "finished") == [4, 16, 32]
    assert fake.starts() == ["4 0", "8 0", "16 0", "32 0"]
    assert run(8, together="auto")[-1] == (8, 0, "finished", "")


def test_a_failure_is_reported_at_once_and_a_later_kill_with_its_own_reason(run, fake):
    fake.set("fail-4", "kill-16", "wait-8")

    def release(cell, status):
        if (cell.value("units"), status.state) == (4, "failed"):
            fake.set("go")  # The next cell ends only after this.

    statuses = run(4, 8, 16, 32, together="auto", during=release)
    reasons = {units: detail for units, _, state, detail in statuses if state == "failed"}
    assert reasons == {4: "step 3: loss is not finite; last good checkpoint: none", 16: "killed by signal 9"}
    assert [units for units, _, state, _ in statuses if state == "failed"] == [4, 16]
    assert fake.starts() == ["4 0", "8 0", "16 0", "32 0"], "each cell starts once"


def test_a_process_that_dies_before_its_first_cell_fails_one_cell_at_a_time(run, fake, monkeypatch):
    monkeypatch.setattr(local, "command", lambda mode: ["-c", "import sys; sys.exit('error: no memory')"])
    statuses = run(4, 8, together="auto")
    assert {(units, state, detail) for units, _, state, detail in statuses} == {
        (4, "failed", "no memory"),
        (8, "failed", "no memory"),
    }


def test_a_group_has_at_most_100_cells(run):
    plan = make_plan(Study("cnn", "mnist28", {}, seeds=250))
    assert [len(group) for group in split_cells(plan.cells, 1)] == [100, 100, 50]


def test_ctrl_c_stops_the_current_cell_of_a_process_and_no_other_starts(run, fake):
    fake.set("stop-8")
    statuses = run(4, 8, 16, together="auto")
    assert statuses[-1] == (8, 0, "stopped", "") and not [s for s in statuses if s[0] == 16]


@pytest.mark.parametrize(
    "text, code, reason",
    [
        ("step 1\nerror: disk is full\n\n", 2, "disk is full"),
        ("Traceback:\n  line\nKeyError: 3\n", 1, "KeyError: 3"),
        ("error: of an earlier process\nTraceback:\n  line\nKeyError: 3\n", 1, "KeyError: 3"),
        ("Traceback:\n  line\nKeyError: 3\nerror: not finite\n", 1, "not finite"),
        ("error: old\nTraceback\n", -9, "killed by signal 9"),
        ("", 3, "exit status 3"),
    ],
)
def test_the_reason_of_a_failure_is_read_from_the_log(tmp_path, text, code, reason):
    Path(tmp_path / "log").write_text(text)
    assert last_error(tmp_path / "log", code) == reason
