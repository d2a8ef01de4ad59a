"""Stored sweeps: settings read from `results.csv` are those that a sweep wrote."""

from experiments.sweeps.outcomes import Outcome, group_settings, write_tables
from experiments.sweeps.stored import read_sweep
from experiments.sweeps.study import Study, make_plan


def finished(plan):
    def results(seed):
        entry = {"error": 3.0 + seed, "low": 2.0, "high": 5.0, "n": 10}
        facts = {"steps": 1, "episodes": 1, "parameters": 1}
        return facts | {split: {"greedy": entry} for split in ("test", "validation")}

    return [Outcome(cell, plan.values(cell), results(cell.seed)) for cell in plan.cells]


def test_crossed_fields_are_read_as_axes(tmp_path):
    plan = make_plan(Study("cnn", "mnist28", {"units": [16, 4], "momentum": [0.5, 0.9]}, seeds=2))
    outcomes = finished(plan)
    write_tables(tmp_path, plan, outcomes)
    sweep = read_sweep(tmp_path)
    assert sweep.names == plan.names and [d.names for d in sweep.axes] == [("units",), ("momentum",)]
    expected = [setting.by_seed() for setting in group_settings(plan, outcomes)]
    assert [setting.by_seed() for setting in sweep.settings] == expected == [{0: 3.0, 1: 4.0}] * 4
    assert sweep.labels[1] == "units 16, momentum 0.9"


def test_paired_fields_are_read_as_one_axis(tmp_path):
    plan = make_plan(Study("cnn", "mnist28", zipped=[{"units": [16, 4], "momentum": [0.5, 0.9]}]))
    write_tables(tmp_path, plan, finished(plan))
    (axis,) = read_sweep(tmp_path).axes
    assert axis == (("units", "momentum"), (("16", "0.5"), ("4", "0.9")))
