"""Curves: what is drawn, and where, against hand-made values."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from experiments.plots.curves import PANELS, learning_curves
from experiments.plots.errors import error_by_glimpse


def drawn(figure: Figure) -> PillowImage.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return PillowImage.open(buffer)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc) for axes in figure.axes for loc in ("left", "center") if axes.get_title(loc)]


def line(figure: Figure, label: str):
    (found,) = [each for axes in figure.axes for each in axes.lines if each.get_label() == label]
    return found


def test_learning_curves_say_so_without_records():
    figure = learning_curves([])
    assert not figure.axes
    assert "No metrics" in figure.texts[0].get_text()


def test_learning_curves_show_only_panels_with_data():
    records = [{"step": 1, "loss": 2.0, "note": "x"}, {"step": 2, "loss": 1.5, "learning_rate": 1e-3}]
    assert titles(learning_curves(records)) == ["Loss", "Learning rate"]


def test_learning_curves_draw_the_values_in_order_of_step():
    records = [
        {"step": 30, "accuracy": 0.9, "validation_error": 12.5},
        {"step": 10, "accuracy": 0.2, "validation_error": None},
        {"step": 20, "accuracy": float("nan"), "validation_error": 40.0},
        {"accuracy": 0.5},
    ]
    figure = learning_curves(records)
    np.testing.assert_allclose(line(figure, "training batches").get_xydata(), [[10, 80.0], [30, 10.0]])
    np.testing.assert_allclose(line(figure, "validation").get_xydata(), [[20, 40.0], [30, 12.5]])
    assert figure.axes[0].get_yscale() == "log"
    assert "lowest 12.50% at step 30" in figure.axes[0].get_title("right")
    drawn(figure)


FULL = [
    {
        "step": step,
        "accuracy": 0.5,
        "validation_error": 40.0,
        "validation_greedy_error": 45.0,
        "validation_sampled_error": 50.0,
        "loss": 2.0,
        "classification_loss": 1.9,
        "policy_loss": 0.01,
        "value_loss": 0.02,
        "reward": 1.0,
        "entropy": 2.0,
        "grad_norm": 1.0,
        "sigma_px": 3.0,
        "learning_rate": 1e-3,
    }
    for step in (1, 2, 3)
]


def test_policy_and_value_loss_have_panels_of_their_own():
    figure = learning_curves(FULL)
    assert {"Loss", "Policy loss", "Value loss"} <= set(titles(figure))
    for name, key in (("policy", "policy_loss"), ("value network", "value_loss")):
        drawn_line = line(figure, name)
        assert [each.get_label() for each in drawn_line.axes.lines] == [name]
        np.testing.assert_allclose(drawn_line.get_ydata(), FULL[0][key])


@pytest.mark.parametrize("count", range(1, 10))
def test_learning_curves_leave_no_place_empty(count):
    panels = [panel.series[0][0] for panel in PANELS][:count]
    figure = learning_curves([{"step": 1} | {key: 0.5 for key in panels}])
    drawn(figure)
    assert len(figure.axes) == count
    rows = {}
    for axes in figure.axes:
        rows.setdefault(axes.get_subplotspec().rowspan.start, []).append(axes.get_subplotspec().colspan)
    for spans in rows.values():
        places = [column for span in spans for column in span]
        assert places == list(range(figure.axes[0].get_gridspec().ncols))


def test_legends_lie_below_the_curves():
    figure = learning_curves(FULL)
    FigureCanvasAgg(figure).draw()
    legends = [axes for axes in figure.axes if axes.get_legend()]
    assert [axes.get_title("left") for axes in legends] == ["Error", "Loss"]
    for axes in legends:
        box = axes.get_legend().get_window_extent()
        assert box.y1 < axes.xaxis.label.get_window_extent().y0 + 1
        assert not any(box.overlaps(other.get_window_extent()) for other in figure.axes)


def test_learning_curves_say_with_which_sigma_errors_are():
    caption = learning_curves(FULL).get_supxlabel()
    assert "sigma) of that step" in caption and "validation errors are with the final sigma" in caption
    whole_image = [{"step": 1, "accuracy": 0.5, "validation_error": 40.0}]
    assert learning_curves(whole_image).get_supxlabel() == ""


def test_learning_curves_without_episodes_have_one_validation():
    whole_image = [{"step": step, "accuracy": 0.5, "validation_error": 40.0} for step in (1, 2)]
    legend = learning_curves(whole_image).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["training batches", "validation"]


def test_learning_curves_of_a_perfect_run():
    figure = learning_curves([{"step": step, "accuracy": 1.0, "validation_error": 0.0} for step in (1, 2)])
    assert figure.axes[0].get_yscale() == "linear"  # zeros have no place on a logarithmic axis
    drawn(figure)


def test_errors_of_learning_curves_end_at_a_hundred_per_cent():
    figure = learning_curves([{"step": step, "accuracy": 0.0, "validation_error": 100.0} for step in (1, 2)])
    low, high = figure.axes[0].get_ylim()
    assert low < 100 < high <= 110


def test_long_curves_are_smoothed_without_bias_at_their_ends():
    figure = learning_curves([{"step": step, "loss": 3.0} for step in range(400)])
    np.testing.assert_allclose(line(figure, "total").get_ydata(), 3.0)


def test_error_by_glimpse():
    figure = error_by_glimpse(np.array([30.0, 20.0, 12.0]), np.array([29.0, 19.0, 11.0]), np.full(3, 31.0))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[1, 30.0], [2, 20.0], [3, 12.0]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["30.0", "20.0", "12.0"]
    assert figure.axes[0].get_ylim()[0] == 0.0 and figure.axes[0].get_ylim()[1] > 31.0
    assert figure.axes[0].get_title("left") == "Error after each glimpse of the greedy path"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["95% interval"]
    for errors in ([0.0], [0.0, 0.0], [90.0, 1.0], [100.0], []):
        drawn(error_by_glimpse(np.array(errors)))


def test_the_interval_is_seen_also_where_a_symbol_has_one_glimpse():
    low, high = np.array([29.0, 19.0, 90.0]), np.array([31.0, 21.0, 98.0])
    figure = error_by_glimpse(np.array([30.0, 20.0, 95.0]), low, high, glimpses_per_target=1)
    axes = figure.axes[0]
    bars = [bar for lines in axes.collections for bar in lines.get_segments()]
    np.testing.assert_allclose(bars, [[[i, a], [i, b]] for i, a, b in zip((1, 2, 3), low, high, strict=True)])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["95% interval"]
    assert axes.get_ylim() == (0.0, 105.0), "no error is above 100%"
