"""Figures of a sweep and its live table: they show the results of the cells."""

import io

import numpy as np
import pytest
from rich.console import Console

from experiments.sweeps.figures import error_against, heat_map, sweep_curves
from experiments.sweeps.labels import positions
from experiments.sweeps.launchers import Status
from experiments.sweeps.outcomes import Outcome, group_settings
from experiments.sweeps.progress import Board
from experiments.sweeps.statistics import mean_interval
from experiments.sweeps.study import Study, make_plan


def error(units, momentum, seed):
    return units / 4 + 10 * momentum + seed * (1 + units / 8)


def results(cell):
    wrong = error(cell.value("units"), cell.value("momentum"), cell.seed)
    return {split: {"greedy": {"error": wrong}} for split in ("test", "validation")}


@pytest.fixture
def plan():
    return make_plan(Study("cnn", "mnist28", {"units": [16, 4, 8], "momentum": [0.5, 0.9]}, seeds=3))


@pytest.fixture
def settings(plan):
    return group_settings(plan, [Outcome(cell, plan.values(cell), results(cell)) for cell in plan.cells])


@pytest.mark.parametrize(
    "values, expected",
    [
        ((2, 3, 6), ([2, 3, 6], True)),
        (("5px", "1.5px"), ([5, 1.5], True)),
        (("0.1", "5px"), ([0, 1], False)),
        (("rnn", "lstm"), ([0, 1], False)),
        ((None, "1px"), ([0, 1], False)),
        (("inf", "1"), ([0, 1], False)),
    ],
)
def test_numbers_stand_by_their_size_and_words_in_order(values, expected):
    assert positions(values) == expected


def test_error_against_an_axis(plan, settings):
    axes = error_against(plan.axes, settings, 0).axes[0]
    assert axes.get_xlabel() == "units" and axes.get_ylabel() == "test error (%)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["momentum 0.5", "momentum 0.9"]
    for bars, momentum in zip(axes.containers, (0.5, 0.9), strict=True):
        order = [16, 4, 8]
        intervals = [mean_interval([error(units, momentum, seed) for seed in range(3)]) for units in order]
        np.testing.assert_allclose(bars[0].get_xydata(), [[u, i.mean] for u, i in zip(order, intervals, strict=True)])
        ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
        np.testing.assert_allclose(ends, [[i.low, i.high] for i in intervals])


def test_every_seed_is_drawn_beside_the_mean(plan, settings):
    axes = error_against(plan.axes, settings, 0).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o" and line.get_transform() != axes.transData]
    drawn = {(x, round(y, 6)) for line in points if line.get_label().startswith("_") for x, y in line.get_xydata()}
    expected = {(u, round(error(u, m, seed), 6)) for u in (16, 4, 8) for m in (0.5, 0.9) for seed in range(3)}
    assert expected <= drawn
    assert all(line.get_zorder() > axes.containers[0][0].get_zorder() for line in points if line.get_zorder() == 4)


def test_wide_intervals_of_two_seeds_do_not_stretch_the_axis():
    plan = make_plan(Study("cnn", "mnist28", {"units": [16, 4]}, seeds=2))
    wrong = dict(zip([cell.id for cell in plan.cells], (20.8, 33.2, 25.0, 26.0), strict=True))
    outcomes = [Outcome(c, plan.values(c), {"test": {"greedy": {"error": wrong[c.id]}}}) for c in plan.cells]
    axes = error_against(plan.axes, group_settings(plan, outcomes), 0).axes[0]
    bottom, top = axes.get_ylim()
    assert 0 < bottom < 20.8 and 33.2 < top < 50
    ends = axes.containers[0][2][0].get_segments()
    assert all(0 <= end <= 100 for segment in ends for end in segment[:, 1])


def test_one_seed_has_no_bar_and_the_figure_says_so():
    plan = make_plan(Study("cnn", "mnist28", {"units": [16, 4]}))
    outcomes = [Outcome(cell, plan.values(cell), {"test": {"greedy": {"error": 5.0}}}) for cell in plan.cells]
    axes = error_against(plan.axes, group_settings(plan, outcomes), 0).axes[0]
    assert axes.get_title(loc="right") == "one seed: no interval over seeds"
    assert all(np.ptp(segment[:, 1]) == 0 for segment in axes.containers[0][2][0].get_segments())


def test_long_labels_of_an_axis_stand_upright(plan, settings):
    zipped = [{"learning_rate": [0.001, 0.002], "optimizer": ["adam", "adadelta"]}]
    long = make_plan(Study("cnn", "mnist28", zipped=zipped))
    done = [Outcome(cell, long.values(cell), {"test": {"greedy": {"error": 1.0}}}) for cell in long.cells]
    axes = error_against(long.axes, group_settings(long, done), 0).axes[0]
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {90.0}
    axes = error_against(plan.axes, settings, 0).axes[0]
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {0.0}


def test_a_heat_map_shows_the_mean_and_the_seeds_of_each_setting(plan, settings):
    axes = heat_map(plan.axes, settings, 0, 1).axes[0]
    expected = [[np.mean([error(u, m, seed) for seed in range(3)]) for m in (0.5, 0.9)] for u in (16, 4, 8)]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    texts = [text.get_text() for text in axes.texts]
    assert texts[::2] == [f"{value:.2f}" for value in np.ravel(expected)]
    seeds = ["  ".join(f"{error(u, m, seed):.1f}" for seed in range(3)) for u in (16, 4, 8) for m in (0.5, 0.9)]
    assert texts[1::2] == seeds
    assert [text.get_text() for text in axes.get_yticklabels()] == ["16", "4", "8"]


def test_learning_curves(plan, settings):
    def records(scale):
        return [
            {"step": s, "loss": 1.0} | ({"validation_error": scale / s} if s % 2 == 0 else {}) for s in (1, 2, 3, 4)
        ]

    figure = sweep_curves(plan.names, [(settings[0], [records(8), records(16)]), (settings[1], [[]])])
    *thin, mean = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in thin] == [[4, 2], [8, 4]]
    assert list(mean.get_xdata()) == [2, 4] and list(mean.get_ydata()) == [6, 3]
    assert mean.get_label() == "units 16, momentum 0.5"


def test_a_sweep_without_finished_cells_can_be_drawn(plan):
    empty = group_settings(plan, [])
    for figure in (error_against(plan.axes, empty, 0), heat_map(plan.axes, empty, 0, 1)):
        assert "No cell has finished" in figure.texts[0].get_text()
    assert "No validation" in sweep_curves(plan.names, [(empty[0], [])]).texts[0].get_text()


def test_live_table_on_a_terminal(plan, tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, markup=False)
    (tmp_path / "cells" / plan.cells[0].id).mkdir(parents=True)
    (tmp_path / "cells" / plan.cells[0].id / "metrics.jsonl").write_text('{"step": 5000}\n')
    with Board(plan, tmp_path, console) as board:
        board.notify(plan.cells[0], Status("running"))
        board.notify(plan.cells[1], Status("failed", "disk [full]"))
        console.print(board.table())
    text = out.getvalue()
    assert "seed 0 at 25%; seed 1 failed: disk [full]" in text and "18 cells: 1 running, 1 failed, 16 waiting" in text
    assert "[1/18] units 16, momentum 0.5, seed 1: failed: disk [full]" in text and "\x1b[" in text
    assert board.failures() == [(plan.cells[1], "disk [full]")]
