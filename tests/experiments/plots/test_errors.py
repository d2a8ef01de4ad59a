"""Figures about sequences."""

import numpy as np
import pytest

from common.training.evaluation import sequence_errors
from experiments.plots.errors import error_by_length


def test_bars_are_the_errors_in_the_order_of_length():
    labels = np.array([[1, 9, 9], [2, 9, 9], [1, 2, 9], [3, 4, 5]])
    predictions = np.array([[1, 9, 9], [3, 9, 9], [1, 2, 9], [3, 4, 9]])
    figure = error_by_length(dict(reversed(sequence_errors(predictions, labels, 9)["by_length"].items())))
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [50.0, 0.0, 100.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n2 images", "2\n1 images", "3\n1 images"]
    assert [text.get_text() for text in axes.texts] == ["50.0", "0.00", "100.0"]


def test_lengths_are_in_the_order_of_numbers():
    entry = {"error": 1.0, "low": 0.5, "high": 2.0, "n": 9}
    figure = error_by_length({"10": entry, "9": entry})
    assert [label.get_text()[:2].strip() for label in figure.axes[0].get_xticklabels()] == ["9", "10"]


@pytest.mark.parametrize("rate", [0.0, 100.0])
def test_extremes_have_an_axis(rate):
    low, high = (0.0, 30.0) if rate == 0 else (70.0, 100.0)
    figure = error_by_length({"1": {"error": rate, "low": low, "high": high, "n": 4}})
    bottom, top = figure.axes[0].get_ylim()
    assert bottom == 0 and top > high


def test_nothing_to_show():
    assert not error_by_length({}).axes
