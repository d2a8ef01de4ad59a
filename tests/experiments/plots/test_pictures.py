"""Pictures depend on nothing of the user's, and one that cannot be drawn costs no other."""

import functools
import io
import locale
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from experiments import cnn
from experiments.plots import classifiers
from experiments.plots.animation import episode_gif
from experiments.plots.attention_sheets import attention_sheet
from experiments.plots.confusions import confusion_matrix
from experiments.plots.curves import learning_curves
from experiments.plots.episodes import episode_sheet, retina_sheet
from experiments.plots.errors import error_by_glimpse, error_by_length
from experiments.plots.gradients import variance_figure
from experiments.plots.locations import location_heatmaps
from experiments.plots.looks import Seen, look_gif, look_sheet
from experiments.plots.names import LONGEST, shown_names, shown_text
from experiments.plots.pictures import DrawingError, draw_picture, draw_pictures, render
from experiments.training.run_directory import read_json
from tests.experiments.training.small_runs import CNN

ROOT = Path(__file__).parents[3]
# Settings of a user that change every figure, or stop its drawing.
HOSTILE = {
    "figure.dpi": 10,
    "savefig.transparent": True,
    "text.usetex": True,
    "font.size": 25,
    "font.family": "serif",
    "axes.facecolor": "red",
    "axes.formatter.use_locale": True,
    "lines.linewidth": 9,
    "image.cmap": "jet",
}
NAMES = {
    "formulas": ["$x$", r"$\frac{", "a_b^c"],
    "no UTF-8": ["caf\udce9", "\udcff", "ok"],
    "other scripts": ["中文", "日本", "русский"],
    "long": ["x" * 60 + "1", "x" * 60 + "2", "tabby cat, domestic cat"],
    "odd": ["", "a\nb", "\x07"],
    "one": ["only"],
    "many": [f"class_number_{index:03d}" for index in range(100)],
}
# The others are slow tests.
FAST = ("formulas", "no UTF-8", "long")


def drawings_of(names):
    """Every figure that shows names, for small episodes."""
    rng, classes, glimpses, count = np.random.default_rng(0), len(names), 2, 2
    images = rng.integers(0, 255, (count, 6, 6, 1), dtype=np.uint8)
    labels = np.arange(count) % classes
    places, boxes = rng.uniform(-0.8, 0.8, (glimpses, count, 2)), np.tile([1.0, 1, 4, 4], (glimpses, count, 1, 1))
    beliefs = rng.dirichlet(np.ones(classes), (glimpses, count))
    patches = rng.uniform(0, 1, (glimpses, count, 1, 2, 2, 1))
    seen = [Seen(f"{names[0]}: {names[-1]}", images[0], places[:, 0], boxes[:, 0], beliefs[:, 0])]
    verdicts = [(shown_names(names, classes)[0], "black")] * count
    return {
        "episodes.png": functools.partial(episode_sheet, images, labels, places, boxes, beliefs, names),
        "episodes.gif": functools.partial(episode_gif, images, labels, places, boxes, patches, beliefs, names),
        "retina.png": functools.partial(retina_sheet, patches, images, labels, boxes, beliefs, names),
        "confusion.png": functools.partial(confusion_matrix, labels, labels, names, path="Greedy path"),
        "look.png": functools.partial(look_sheet, seen, names),
        "look.gif": functools.partial(look_gif, seen, names),
        "attention.png": functools.partial(attention_sheet, images, rng.uniform(0, 1, (2, 1, 3, 3)), 2, None, verdicts),
    }


def other_drawings():
    records = [{"step": step, "loss": 1.5 / step, "accuracy": 0.5, "validation_error": 9.5} for step in (1000, 2000)]
    results = [{"sigma": "3px", "estimator": "gain", "replicates": m, "variance": 1e-3 / m, "snr": m} for m in (1, 4)]
    settings = {"sigma": ["3px"], "estimators": ["gain"], "replicates": [1, 4]}
    by_length = {"1": {"error": 1.5, "low": 1.0, "high": 2.0, "n": 1000}}
    places = np.random.default_rng(0).uniform(-1, 1, (2, 5, 2))
    return {
        "curves.png": functools.partial(learning_curves, records),
        "by_glimpse.png": functools.partial(error_by_glimpse, np.array([30.5, 1.5])),
        "by_length.png": functools.partial(error_by_length, by_length),
        "locations.png": functools.partial(location_heatmaps, places, 6, 6),
        "variance.png": functools.partial(variance_figure, {"settings": settings, "results": results}),
    }


def test_pictures_are_the_same_whatever_the_user_has_set(monkeypatch):
    """Also with a decimal comma. The settings themselves, and those of figures of the user's own, stay as they are."""
    drawings = drawings_of(["a", "longer"]) | other_drawings()
    expected = {name: render(name, drawing) for name, drawing in drawings.items()}
    monkeypatch.setattr(locale, "localeconv", lambda: {"decimal_point": ",", "thousands_sep": ".", "grouping": [3, 0]})
    monkeypatch.setattr(locale, "format_string", lambda *args, **options: pytest.fail("a number as the locale has it"))
    with matplotlib.rc_context(HOSTILE):
        assert [name for name, drawing in drawings.items() if render(name, drawing) != expected[name]] == []
        assert matplotlib.rcParams["figure.dpi"] == 10


@pytest.mark.parametrize(
    "names",
    [pytest.param(each, id=kind, marks=[] if kind in FAST else [pytest.mark.slow]) for kind, each in NAMES.items()],
)
def test_every_name_can_be_drawn_without_a_warning(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, drawing in drawings_of(names).items():
            assert PillowImage.open(io.BytesIO(render(name, drawing))).size > (100, 100)


def test_names_are_shown_as_they_are_if_the_font_can_write_them():
    assert shown_names(["$x$", "русский", "a\n b"], 3) == ["$x$", "русский", "a b"]
    assert shown_names(None, 3) == ["0", "1", "2"]


def test_names_that_the_font_lacks_are_shown_as_numbers():
    assert shown_names(["中文", "ok", "caf\udce9", "\x07", ""], 5) == ["class 0", "ok", "class 2", "class 3", "class 4"]


def test_long_names_are_short_and_still_different():
    shown = shown_names(["x" * 60 + "1", "x" * 60 + "2", "a" * 30 + "b" + "a" * 30, "a" * 30 + "c" + "a" * 30], 4)
    assert shown == ["xxxxxxxx…xxxxxx1", "xxxxxxxx…xxxxxx2", "class 2", "class 3"]
    assert max(map(len, shown)) == LONGEST == len(shown_text("y" * LONGEST, LONGEST))


def test_other_texts_keep_what_the_font_has():
    assert shown_text("图 1:\n cat") == "? 1: cat"
    assert shown_text("0123456789", 5) == "01…89"


def test_upright_names_are_whole_in_animations():
    """Their ink ends above the lower edge."""
    gif = drawings_of(["n02085620-Chihuahua", "tabby_cat_domestic"])["episodes.gif"]
    frame = np.asarray(PillowImage.open(io.BytesIO(render("gif", gif))).convert("L"))
    assert (frame[-2:] > 240).all() and (frame[-40:-20] < 200).any()


def broken():
    raise RuntimeError("no ink\nleft")


def test_a_picture_that_cannot_be_drawn_is_a_line_and_costs_no_other(tmp_path, capsys):
    (tmp_path / "bad.png").write_text("of an earlier time")
    draw_pictures(tmp_path, {"bad.png": broken, "good.png": lambda: Figure(figsize=(1, 1)), "good.gif": lambda: b"GIF"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.gif", "good.png"]
    assert PillowImage.open(tmp_path / "good.png").format == "PNG"
    line = f"picture {str(tmp_path / 'bad.png')!r} cannot be drawn: RuntimeError: no ink\n"
    assert capsys.readouterr().err == line
    with pytest.raises(DrawingError, match="no ink"):
        render("bad.png", broken)


def test_a_picture_that_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        draw_picture(tmp_path / "file" / "picture.png", lambda: b"GIF")


def test_a_run_whose_picture_cannot_be_drawn_has_its_results_and_its_report(go, monkeypatch, capsys):
    monkeypatch.setattr(classifiers, "confusion_matrix", lambda *args, **options: broken())
    go(cnn, CNN, "--plots")
    out, err = capsys.readouterr()
    assert "single pass" in out and "test accuracy: " in out and "report: run/report.html" in out
    assert "picture 'run/plots/confusion.png' cannot be drawn: RuntimeError: no ink\n" in err
    assert [path.name for path in Path("run/plots").iterdir()] == ["learning_curves.png"]
    assert "test" in read_json(Path("run/results.json")) and "Learning curves" in Path("run/report.html").read_text()


def test_a_run_whose_drawing_fails_as_a_whole_has_its_results_and_its_report(go, monkeypatch, capsys):
    monkeypatch.setattr(classifiers, "make_predictor", lambda *args: broken())
    go(cnn, CNN, "--plots")
    out, err = capsys.readouterr()
    assert "test accuracy: " in out and "not all figures are drawn: RuntimeError: no ink\n" in err
    assert Path("run/report.html").exists()


def test_a_command_ignores_the_backend_of_a_notebook(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    program = "import sys; sys.argv = ['-m']; import experiments, matplotlib; print(matplotlib.__name__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("matplotlib\n", "")
