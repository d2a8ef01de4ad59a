"""The local launcher, with cells that stand in: shares of the cores, failures, kills, stops."""

import json
import os
import re
import threading
from pathlib import Path

import pytest

from experiments.sweeps import local
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.launchers import Stop
from experiments.sweeps.local import parts, shares
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
def test_shares_are_of_one_size(cores, jobs, expected):
    assert shares(cores, jobs) == expected


@pytest.fixture
def run(tmp_path, fake):
    """Runs cells of the given units, and returns what was notified, in order, by ``units seed``."""
    sweep = tmp_path / "s"
    (sweep / "cells").mkdir(parents=True)

    def call(*units, seeds=1, during=lambda cell, status: None, **options):
        plan = make_plan(Study("cnn", "mnist28", {"units": units}, seeds=seeds, overrides={"network": "fc"}))
        said = []

        def notify(cell, status):
            said.append((cell.value("units"), cell.seed, status.state, status.detail))
            during(cell, status)

        call.cells, call.sweep = plan.cells, sweep
        with Stop() as stop:
            local.execute(plan.cells, sweep, notify, stop, **options)
        return said

    return call


def test_one_at_a_time_in_order(run, fake):
    assert run(8, 4, seeds=2) == [
        (units, seed, state, "") for units in (8, 4) for seed in (0, 1) for state in ("running", "finished")
    ]
    assert fake.starts() == ["8 0", "8 1", "4 0", "4 1"]


def test_several_at_a_time(run, fake):
    fake.tell("wait-4", "wait-8")

    def release(cell, status):
        if len(fake.starts()) == 2 or (cell.value("units"), status.state) == (8, "running"):
            fake.tell("go")

    said = run(4, 8, 16, jobs=2, during=release)
    assert [s[2] for s in said[:2]] == ["running", "running"] and [s[0] for s in said[:2]] == [4, 8]
    assert sorted(s[0] for s in said if s[2] == "finished") == [4, 8, 16]


def test_each_has_its_share_of_the_cores(run, fake, monkeypatch):
    given = sorted(os.sched_getaffinity(0))
    run(4, 8, jobs=2)
    used = {re.search(r"cores \[(.*?)\]", (cell_folder(run.sweep, c) / "log.txt").read_text())[1] for c in run.cells}
    allowed = {", ".join(map(str, share)) for share in shares(given, 2)}
    assert used <= allowed and sorted(os.sched_getaffinity(0)) == given


def test_a_failing_cell_does_not_stop_the_others(run, fake):
    fake.tell("fail-4")
    said = run(4, 8)
    assert said[1] == (4, 0, "failed", "step 3: loss is not finite; last good checkpoint: none")
    assert said[-1] == (8, 0, "finished", "")
    assert "loss is not finite" in (cell_folder(run.sweep, run.cells[0]) / "log.txt").read_text()


def test_a_cell_that_is_killed_is_reported_and_goes_on_next_time(run, fake):
    fake.tell("kill-8")
    assert run(8, 4)[1] == (8, 0, "failed", "killed by signal 9")
    assert run(8)[-1] == (8, 0, "finished", "")
    log = (cell_folder(run.sweep, run.cells[0]) / "log.txt").read_text()
    assert "resume False" in log and "resume True" in log, "one log of both"


def test_a_folder_that_was_killed_before_it_was_a_run_is_made_anew(run, fake):
    run(8)
    folder = cell_folder(run.sweep, run.cells[0])
    for path in folder.iterdir():
        path.unlink()
    (folder / ".config.json.123.tmp").write_text('{"mod')
    run(8)
    assert read_results(run.sweep, run.cells[0]) and not (folder / ".config.json.123.tmp").exists()


def test_results_of_another_configuration_and_damaged_ones_do_not_count(run, fake):
    run(4, 8)
    first, second = (cell_folder(run.sweep, cell) / "results.json" for cell in run.cells)
    text = first.read_text()
    first.write_text(second.read_text())
    assert read_results(run.sweep, run.cells[0]) is None
    first.write_text(text[:-9])
    assert read_results(run.sweep, run.cells[0]) is None
    first.write_text(text)
    assert read_results(run.sweep, run.cells[0])["parameters"] == 40


def test_results_from_before_there_was_a_field_count_with_its_default(run, fake):
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


def test_ctrl_c_is_passed_on_once_and_nothing_more_is_started(run, fake):
    fake.tell("stop-8")
    said = run(4, 8, 16)
    assert said == [(4, 0, "running", ""), (4, 0, "finished", ""), (8, 0, "running", ""), (8, 0, "stopped", "")]
    assert (cell_folder(run.sweep, run.cells[1]) / "log.txt").read_text().splitlines()[-1] == "saved"


def test_a_process_that_a_killed_sweep_left_is_waited_for(run, fake):
    run(8)
    folder = cell_folder(run.sweep, run.cells[0])
    results = folder.with_suffix(".kept")
    (folder / "results.json").rename(results)
    held = open_log(folder)

    def leave(cell, status):
        if status.state == "waiting" and not results.with_suffix(".ending").exists():
            results.with_suffix(".ending").touch()

            def end():
                results.rename(folder / "results.json")
                held.close()

            threading.Timer(0.1, end).start()

    said = run(8, during=leave)
    assert said[0] == (8, 0, "waiting", "for a process that a sweep before this left running")
    assert said[-1] == (8, 0, "finished", "") and fake.starts() == ["8 0"]


def test_the_log_moves_into_the_folder_of_the_run(tmp_path):
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
def test_parts_are_in_order_and_as_equal_as_can_be(cells, jobs, expected):
    plan = make_plan(Study("cnn", "mnist28", {}, seeds=cells))
    made = ["".join("abcde"[cell.seed] for cell in part) for part in parts(plan.cells, jobs)]
    assert made == expected


def test_together_in_one_process_with_a_log_each(run, fake):
    said = run(8, 4, seeds=2, together="auto")
    assert [s[:2] for s in said if s[2] == "finished"] == [(8, 0), (8, 1), (4, 0), (4, 1)]
    assert fake.starts() == ["8 0", "8 1", "4 0", "4 1"] and {s[2] for s in said} <= {"running", "finished"}
    for cell in run.cells:
        assert (cell_folder(run.sweep, cell) / "log.txt").read_text().count("cores") == 1


def test_a_failing_cell_does_not_stop_those_together_with_it(run, fake):
    fake.tell("fail-8")
    said = run(4, 8, 16, together="auto")
    assert (8, 0, "failed", "step 3: loss is not finite; last good checkpoint: none") in said
    assert sorted(s[0] for s in said if s[2] == "finished") == [4, 16]


def test_a_process_of_several_that_dies_takes_one_with_it(run, fake):
    fake.tell("kill-8")
    said = run(4, 8, 16, 32, together="auto")
    assert (8, 0, "failed", "killed by signal 9") in said
    assert sorted(s[0] for s in said if s[2] == "finished") == [4, 16, 32]
    assert fake.starts() == ["4 0", "8 0", "16 0", "32 0"]
    assert run(8, together="auto")[-1] == (8, 0, "finished", "")


def test_a_cell_that_failed_is_told_at_once_and_not_blamed_for_another(run, fake):
    fake.tell("fail-4", "kill-16", "wait-8")

    def release(cell, status):
        if (cell.value("units"), status.state) == (4, "failed"):
            fake.tell("go")  # Only then does the next one end.

    said = run(4, 8, 16, 32, together="auto", during=release)
    reasons = {units: detail for units, _, state, detail in said if state == "failed"}
    assert reasons == {4: "step 3: loss is not finite; last good checkpoint: none", 16: "killed by signal 9"}
    assert [units for units, _, state, _ in said if state == "failed"] == [4, 16]
    assert fake.starts() == ["4 0", "8 0", "16 0", "32 0"], "each once"


def test_a_process_that_dies_before_it_begins_ends_the_sweep(run, fake, monkeypatch):
    monkeypatch.setattr(local, "command", lambda how: ["-c", "import sys; sys.exit('error: no memory')"])
    said = run(4, 8, together="auto")
    assert {(units, state, detail) for units, _, state, detail in said} == {
        (4, "failed", "no memory"),
        (8, "failed", "no memory"),
    }


def test_parts_hold_few_logs_open(run):
    plan = make_plan(Study("cnn", "mnist28", {}, seeds=250))
    assert [len(part) for part in parts(plan.cells, 1)] == [100, 100, 50]


def test_ctrl_c_stops_those_together_and_the_rest_wait(run, fake):
    fake.tell("stop-8")
    said = run(4, 8, 16, together="auto")
    assert said[-1] == (8, 0, "stopped", "") and not [s for s in said if s[0] == 16]


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
def test_why_a_process_failed(tmp_path, text, code, reason):
    Path(tmp_path / "log").write_text(text)
    assert last_error(tmp_path / "log", code) == reason
