"""Readings by hand and against a loop, and the marks of sequences in figures."""

import io
import json

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image as PillowImage

from experiments.evaluation.reading import glimpses_taken, read_episode
from experiments.plots.animation import episode_gif
from experiments.plots.arrays import likeliest_classes, to_pixels
from experiments.plots.episode_files import read_episodes, write_episodes
from experiments.plots.episodes import episode_sheet, retina_sheet, verdict_so_far
from experiments.plots.errors import error_by_glimpse
from experiments.plots.locations import location_heatmaps
from experiments.plots.style import RIGHT, WRONG, spread
from tests.experiments.plots.test_plots import drawn, make_episodes, titles

NAMES = ("zero", "one", "two", "end")
END, EACH = 3, 2
# Read right, read wrong, ended too early, never ended, and ended too late.
LABELS = np.array([[1, 2, END], [0, END, END], [2, 1, END], [2, END, END], [2, END, END]])
PREDICTED = ([1, 2, END], [1, END], [2, END], [2, 0, 1], [2, 0, END])


def make_sequences():
    """Return five episodes of three symbols, two glimpses each, with these predictions."""
    episodes = make_episodes(glimpses=6, images=5, classes=4)
    beliefs = np.full((6, 5, 4), 0.25)
    for image, predicted in enumerate(PREDICTED):
        for place, symbol in enumerate(predicted):
            beliefs[place * EACH + 1, image] = 0.1
            beliefs[place * EACH + 1, image, symbol] = 0.7
    return episodes | {"labels": LABELS, "probabilities": beliefs}


EPISODES = make_sequences()
SHEET = {key: value for key, value in EPISODES.items() if key != "glimpses"}


def readings():
    return [read_episode(label, EPISODES["probabilities"][:, image]) for image, label in enumerate(LABELS)]


# -- What was read. --


def test_readings_have_the_predicted_symbols_and_count_their_glimpses():
    found = readings()
    assert [list(each.predicted) for each in found] == list(PREDICTED) and found[0].glimpses_per_target == EACH
    assert [each.is_correct for each in found] == [True, False, False, False, False]
    assert [each.num_taken for each in found] == [6, 4, 4, 6, 6]
    assert [found[4].is_correct_at(place) for place in range(3)] == [True, False, False]
    np.testing.assert_array_equal(glimpses_taken(LABELS, EPISODES["probabilities"]), [6, 4, 4, 6, 6])
    first = found[0]
    assert [first.target_at(step) for step in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [first.predicted_by(step) for step in range(6)] == [(), (1,), (1,), (1, 2), (1, 2), (1, 2, END)]
    assert [first.ends_target(step) for step in range(6)] == [False, True] * 3
    assert first.text(first.label, NAMES) == "one two" and first.text([END], NAMES) == "nothing"


def test_a_sequence_without_an_end_is_right_if_all_its_symbols_are():
    beliefs = np.eye(4)[[0, 1, 2]]
    assert read_episode(np.array([0, 1, 2]), beliefs).is_correct
    assert not read_episode(np.array([0, 1, 1]), beliefs).is_correct


def test_the_class_of_an_episode_is_the_likeliest_after_its_last_glimpse():
    beliefs = np.array([[0.9, 0.1], [0.2, 0.8]])
    reading = read_episode(np.array(1), beliefs)
    assert reading == ((1,), (1,), 2, None) and reading.is_correct and reading.num_taken == 2
    assert not read_episode(np.array(0), beliefs).is_correct
    assert [reading.target_at(step) for step in (0, 1)] == [0, 0]


def test_likeliest_classes_hold_all_symbols_of_a_label():
    beliefs = np.tile(np.linspace(0, 1, 30), (2, 1))
    np.testing.assert_array_equal(likeliest_classes(beliefs, (3, 5, 3), limit=4), [3, 5, 28, 29])


def test_no_symbol_is_correct_past_the_true_end():
    beliefs = np.eye(4)[[2, 0, END]]
    reading = read_episode(np.array([2, END, END]), beliefs)
    assert reading.predicted == (2, 0, END) and not reading.is_correct
    assert [reading.is_correct_at(place) for place in range(3)] == [True, False, False]
    assert [reading.has_target(place) for place in range(3)] == [True, True, False]


# -- Figures. --


def pictures(figure):
    return [axes for axes in figure.axes if axes.images and tuple(axes.images[0].get_extent()) == (0, 30, 20, 0)]


def test_paths_end_at_the_predicted_end_and_symbols_stand_by_their_last_glimpse():
    figure = episode_sheet(**SHEET, class_names=NAMES)
    for image, (axes, reading) in enumerate(zip(pictures(figure), readings(), strict=True)):
        path = to_pixels(EPISODES["locations"][: reading.num_taken, image], 20, 30)
        places = spread(path, 0.075 * 30, 20, 30)
        texts = [text.get_text() for text in axes.texts]
        assert texts[: reading.num_taken] == [str(step + 1) for step in range(reading.num_taken)]
        np.testing.assert_allclose(axes.lines[1].get_xydata(), path)
        tags = axes.texts[reading.num_taken :]
        label = [*LABELS[image][: list(LABELS[image]).index(END) + 1], None, None]
        expected = [f"{NAMES[s]} {'✓' if s == label[place] else '✗'}" for place, s in enumerate(reading.predicted)]
        assert [tag.get_text() for tag in tags] == expected
        np.testing.assert_allclose([tag.xy for tag in tags], places[EACH - 1 :: EACH])
        colours = [to_hex(tag.get_bbox_patch().get_facecolor()) for tag in tags]
        assert colours == [RIGHT if text.endswith("✓") else WRONG for text in expected]
        boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        corners = [box.get_xy() for box in boxes]
        np.testing.assert_allclose(corners, EPISODES["boxes"][: reading.num_taken, image, 0, :2])
    assert titles(figure) == [
        "✓ one two",
        "✗ zero, read as one",
        "✗ two one, read as two",
        "✗ two, read as two zero one",
        "✗ two, read as two zero",
    ]
    drawn(figure)


def test_beliefs_are_framed_at_the_true_symbols_and_empty_after_the_end():
    figure = episode_sheet(**SHEET, class_names=NAMES)
    maps = [axes for axes in figure.axes if axes.get_ylabel() == "glimpse"]
    for axes, reading, label in zip(maps, readings(), LABELS, strict=True):
        shown = np.ma.filled(axes.images[0].get_array(), np.nan)
        assert np.isnan(shown[reading.num_taken :]).all() and np.isfinite(shown[: reading.num_taken]).all()
        frames = [(*patch.get_xy(), patch.get_height()) for patch in axes.patches]
        within = [place for place in range(len(reading.predicted)) if END not in label[:place]]
        assert frames == [(label[place] - 0.5, EACH * place - 0.5, EACH) for place in within]
        beside = [text for text in axes.texts if text.get_text()[-1] in "✓✗"]
        assert [text.get_text().split()[0] for text in beside] == [NAMES[symbol] for symbol in reading.predicted]
        assert [text.xy[1] for text in beside] == [EACH * place + 0.5 for place in range(len(reading.predicted))]
        lines = [line.get_ydata()[0] for line in axes.lines]
        assert lines == [1.5, 3.5]


def test_the_retina_sheet_says_which_symbol_a_glimpse_looks_for():
    names = ("glimpses", "images", "labels", "boxes", "probabilities")
    figure = retina_sheet(*(EPISODES[name] for name in names), NAMES)
    found = titles(figure)
    second = found[found.index("image: zero") : found.index("image: two one")]
    assert second == [
        "image: zero",
        "1, symbol 1",
        "2, symbol 1: one ✗",
        "3, symbol 2",
        "4, symbol 2: end ✓",
        "all together",
    ]
    drawn(figure)


def test_the_animation_has_as_many_frames_as_the_longest_reading():
    for images, frames in (([1, 2], 4), ([0, 1], 6)):
        some = {
            key: value[images] if key in ("images", "labels") else value[:, images] for key, value in EPISODES.items()
        }
        gif = PillowImage.open(io.BytesIO(episode_gif(**some, class_names=NAMES)))
        assert gif.n_frames == frames
    # The second image, whose reading has come to its end, stays as it is.
    left = []
    for frame in (3, 4, 5):
        gif.seek(frame)
        left.append(np.asarray(gif.convert("RGB"))[70:, 250:])
    assert (left[1] == left[2]).all()


def test_titles_show_the_symbols_predicted_so_far():
    shown_titles = [verdict_so_far(LABELS[0], EPISODES["probabilities"][:, 0], step, NAMES)[0] for step in range(6)]
    assert shown_titles == ["one two"] + ["one two, read one …"] * 2 + ["one two, read one two …"] * 2 + ["✓ one two"]
    beliefs = np.array([[0.9, 0.1], [0.2, 0.8]])
    shown_titles = [verdict_so_far(np.array(1), beliefs, step, NAMES)[0] for step in (0, 1)]
    assert shown_titles == ["✗ one, taken for zero", "✓ one"]


def test_heat_maps_count_the_images_that_take_the_glimpse():
    locations = np.zeros((4, 3, 2))
    locations[2:, 0] = 0.9
    figure = location_heatmaps(locations, 20, 20, 10, taken=np.array([4, 2, 2]), glimpses_per_target=2)
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == [f"glimpse {t + 1} (symbol {t // 2 + 1})" for t in range(4)]
    shares = [np.asarray(axes.images[0].get_array()) for axes in maps]
    assert shares[0][1, 1] == 100 and shares[2][1, 1] == 100 and shares[2].sum() == 100
    short = location_heatmaps(locations, 20, 20, 10, taken=np.array([2, 2, 2]), glimpses_per_target=2)
    assert len(titles(short)) == 2


def test_errors_are_curves_of_each_symbol():
    errors = np.array([40.0, 20, 45, 22])
    figure = error_by_glimpse(errors, errors - 1, errors + 1, 2)
    curves = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert curves == [[[1, 40], [2, 20]], [[3, 45], [4, 22]]]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if "symbol" in text] == ["symbol 1", "symbol 2"]
    assert figure.axes[0].get_ylabel() == "error of the symbol"
    assert len(figure.axes[0].get_legend().get_texts()) == 1
    drawn(figure)


# -- The data of the viewer. --


def test_episodes_of_sequences_round_trip(tmp_path):
    path = write_episodes(tmp_path / "episodes.json", **EPISODES, class_names=NAMES)
    found = read_episodes(path)
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_allclose(found.probabilities, EPISODES["probabilities"], atol=1e-4)


@pytest.mark.parametrize("sequences", [False, True])
def test_only_sequences_have_predicted_symbols_in_the_file(tmp_path, sequences):
    episodes = EPISODES if sequences else EPISODES | {"labels": LABELS[:, 0]}
    content = json.loads(write_episodes(tmp_path / "episodes.json", **episodes).read_text())
    first = content["episodes"][1]
    if sequences:
        assert (content["glimpses_per_target"], content["end"]) == (EACH, END)
        assert (first["label"], first["read"]) == ([0, END, END], [1, END])
    else:
        assert first["label"] == 0 and "read" not in first
        assert {"glimpses_per_target", "end"}.isdisjoint(content)
