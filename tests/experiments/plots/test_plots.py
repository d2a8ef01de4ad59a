"""Figures: what is drawn, and where, against hand-made values."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image as PillowImage

from experiments.plots.animation import episode_gif
from experiments.plots.arrays import likeliest_classes, to_pixels, to_rgb
from experiments.plots.confusions import confusion_counts, confusion_matrix
from experiments.plots.episodes import covered, episode_sheet, reconstruct, reconstruct_episode, retina_sheet, seen_rgb
from experiments.plots.locations import location_heatmaps, location_histogram
from experiments.plots.style import UNSEEN, glimpse_colours, spread

SIDE = 4  # samples of a patch's side


def make_episodes(glimpses=3, images=2, scales=2, channels=1, classes=4, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    locations = rng.uniform(-0.9, 0.9, (glimpses, images, 2))
    centres = (locations + 1) / 2 * np.array([width, height])
    half = SIDE * 2.0 ** np.arange(scales) / 2
    corner = centres[:, :, None, :]
    boxes = np.concatenate([corner - half[:, None], corner + half[:, None]], axis=-1)
    return {
        "images": rng.integers(0, 256, (images, height, width, channels), dtype=np.uint8),
        "labels": rng.integers(0, classes, images),
        "locations": locations,
        "boxes": boxes,
        "glimpses": rng.uniform(size=(glimpses, images, scales, SIDE, SIDE, channels)),
        "probabilities": rng.dirichlet(np.ones(classes), (glimpses, images)),
    }


def sheet_arguments(episodes):
    return {key: value for key, value in episodes.items() if key != "glimpses"}


def retina_arguments(episodes):
    return {key: episodes[key] for key in ("glimpses", "images", "labels", "boxes", "probabilities")}


def drawn(figure: Figure) -> PillowImage.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return PillowImage.open(buffer)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc) for axes in figure.axes for loc in ("left", "center") if axes.get_title(loc)]


# Heat maps and confusions


def test_location_histogram_counts_every_location_in_its_pixel():
    width, height = 8, 4
    # By hand: x = -1 + 2 * (3.5 / 8) is in column 3, y = -1 + 2 * (1.5 / 4) in row 1.
    points = np.array([[-0.125, -0.25]] * 3 + [[1.0, 1.0], [-1.0, -1.0], [5.0, -5.0]])
    counts = location_histogram(points, height, width)
    expected = np.zeros((4, 8), int)
    expected[1, 3], expected[3, 7], expected[0, 0], expected[0, 7] = 3, 1, 1, 1
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("cell", [1, 3, 5])
def test_location_histogram_of_coarse_cells_is_a_sum_of_fine_ones(cell):
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 2))
    fine, coarse = (location_histogram(points, 20, 31, size) for size in (1, cell))
    assert coarse.sum() == 500
    assert coarse.shape == (int(np.ceil(20 / cell)), int(np.ceil(31 / cell)))
    for (row, column), count in np.ndenumerate(coarse):
        assert count == fine[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].sum()


def test_location_heatmaps_share_a_scale_and_light_the_right_pixel():
    rng = np.random.default_rng(0)
    locations = rng.uniform(-0.99, 0.99, (3, 200, 2))
    locations[0] = [-1 + 2 * 2.5 / 20, -1 + 2 * 7.5 / 10]  # all in column 2, row 7
    figure = location_heatmaps(locations, height=10, width=20, cell=1)
    maps = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(maps) == 3
    hot = np.zeros((10, 20))
    hot[7, 2] = 100.0
    np.testing.assert_allclose(maps[0].get_array(), hot)
    for picture in maps:
        np.testing.assert_allclose(picture.get_array().sum(), 100.0)
        assert tuple(picture.get_extent()) == (0, 20, 10, 0)
        assert picture.norm is maps[0].norm
    assert figure.get_suptitle() == "Locations of the greedy path"
    assert "square-root scale" in figure.axes[-1].get_ylabel()
    assert maps[0].norm.vmax == max(picture.get_array().max() for picture in maps[1:])
    drawn(figure)


def test_confusion_counts_against_a_loop():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, (2, 300))
    expected = [[sum((labels == i) & (predictions == j)) for j in range(5)] for i in range(5)]
    np.testing.assert_array_equal(confusion_counts(labels, predictions, 5), expected)


def test_confusion_matrix_writes_counts_and_colours_row_shares():
    labels, predictions = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    figure = confusion_matrix(labels, predictions, ["cat", "dog", "owl"])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[75, 25, 0], [0, 100, 0], [0, 0, 0]])
    written = {(text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "3", (0, 1): "1", (1, 1): "1"}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert axes.get_title("left") == "1 of 5 wrong (20.00%)"
    assert "not linear" in figure.axes[-1].get_ylabel()
    named = confusion_matrix(labels, predictions, path="Greedy path")
    assert named.axes[0].get_title("left") == "Greedy path: 1 of 5 wrong (20.00%)"
    drawn(figure)


def test_confusion_matrix_of_many_classes_has_no_numbers():
    labels = np.arange(100)
    figure = confusion_matrix(labels, labels)
    assert not figure.axes[0].texts
    assert len(figure.axes[0].get_xticklabels()) <= 20
    drawn(figure)


# Reconstruction


def test_reconstruct_by_hand():
    fine = np.array([[0.1, 0.2], [0.3, 0.4]])
    coarse = np.array([[0.5, 0.6], [0.7, 0.8]])
    glimpse = np.stack([fine, coarse])[..., None]
    boxes = np.array([[2.0, 1.0, 4.0, 3.0], [1.0, 0.0, 5.0, 4.0]])  # left, top, right, bottom
    expected = [
        [0.0, 0.5, 0.5, 0.6, 0.6, 0.0],
        [0.0, 0.5, 0.1, 0.2, 0.6, 0.0],
        [0.0, 0.7, 0.3, 0.4, 0.8, 0.0],
        [0.0, 0.7, 0.7, 0.8, 0.8, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(reconstruct(glimpse, boxes, 5, 6)[..., 0], expected, atol=1e-6)
    np.testing.assert_array_equal(covered(boxes, 5, 6), np.array(expected) > 0)


def test_reconstruct_drops_what_lies_outside():
    glimpse = np.array([[0.1, 0.2], [0.3, 0.4]])[None, :, :, None]
    left_top = reconstruct(glimpse, np.array([[-2, -2, 2, 2]]), 3, 3)[..., 0]
    np.testing.assert_allclose(left_top, [[0.4, 0.4, 0], [0.4, 0.4, 0], [0, 0, 0]], atol=1e-6)
    right_bottom = reconstruct(glimpse, np.array([[1, 1, 5, 5]]), 3, 3)[..., 0]
    np.testing.assert_allclose(right_bottom, [[0, 0, 0], [0, 0.1, 0.1], [0, 0.1, 0.1]], atol=1e-6)
    assert not reconstruct(glimpse, np.array([[7, 7, 9, 9]]), 3, 3).any()


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.4])
def test_reconstruct_of_unit_boxes_is_a_crop(shift):
    image = np.random.default_rng(0).uniform(size=(9, 11, 3))
    crop = image[2:6, 3:7]
    boxes = np.array([[3.0, 2.0, 7.0, 6.0]]) + shift  # a fraction of a pixel does not change the nearest sample
    expected = np.zeros_like(image)
    expected[2:6, 3:7] = crop
    np.testing.assert_allclose(reconstruct(crop[None], boxes, 9, 11), expected, atol=1e-6)


def test_reconstruct_episode_keeps_the_finest_look_and_then_the_latest():
    first, second = np.full((2, 2, 1), 0.25), np.full((2, 2, 1), 0.75)
    glimpses = np.stack([np.stack([first, first]), np.stack([second, second])])
    boxes = np.array([[[0, 0, 2, 2], [0, 0, 4, 4]], [[1, 0, 3, 2], [0, 0, 4, 4]]])
    seen = reconstruct_episode(glimpses, boxes, 2, 5)[..., 0]
    np.testing.assert_allclose(seen, [[0.25, 0.75, 0.75, 0.75, 0.0]] * 2)


def test_what_was_not_seen_has_a_colour_of_its_own():
    picture = seen_rgb(np.zeros((1, 1, 2, 2, 1)), np.array([[[0, 0, 2, 2]]]), 2, 3)
    np.testing.assert_allclose(picture[:, 2], [UNSEEN, UNSEEN], rtol=1e-6)
    assert not picture[:, :2].any()


# Sheets


def test_episode_sheet_draws_boxes_and_path_where_they_belong():
    episodes = make_episodes()
    figure = episode_sheet(**sheet_arguments(episodes))
    pictures = [axes for axes in figure.axes if axes.images and tuple(axes.images[0].get_extent()) == (0, 30, 20, 0)]
    assert len(pictures) == 2
    colours = glimpse_colours(3)
    for index, axes in enumerate(pictures):
        boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        found = [(*box.get_xy(), box.get_x() + box.get_width(), box.get_y() + box.get_height()) for box in boxes]
        np.testing.assert_allclose(found, episodes["boxes"][:, index].reshape(-1, 4))
        assert [to_hex(box.get_edgecolor()) for box in boxes] == [colour for colour in colours for _ in range(2)]
        assert boxes[0].get_linewidth() > boxes[1].get_linewidth()
        path = to_pixels(episodes["locations"][:, index], 20, 30)
        assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
        np.testing.assert_allclose([text.get_position() for text in axes.texts], spread(path, 0.075 * 30, 20, 30))
        np.testing.assert_allclose(axes.lines[1].get_xydata(), path)
    drawn(figure)


def test_numbers_of_glimpses_on_one_spot_stand_apart_and_are_tied_to_it():
    episodes = make_episodes(glimpses=8, images=1, height=100, width=100)
    episodes["locations"][:] = 0.0
    figure = episode_sheet(**sheet_arguments(episodes))
    axes = figure.axes[0]
    places = np.array([text.get_position() for text in axes.texts])
    ties = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]
    np.testing.assert_allclose(ties, [[[50, 50], place] for place in places])
    assert smallest_distance(places) > 0.9 * 7.5
    assert np.linalg.norm(places - 50, axis=-1).max() < 16


def smallest_distance(points) -> float:
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return distances[~np.eye(len(points), dtype=bool)].min()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (60.0, 0.0), (60.0, 40.0)])
def test_spread_keeps_numbers_in_the_image_and_those_that_are_alone_where_they_are(corner):
    points = np.array([corner] * 4 + [[30.0, 20.0]])
    places = spread(points, 5.0, height=40, width=60)
    assert (places >= 2.4).all() and (places <= [57.6, 37.6]).all()
    assert smallest_distance(places) > 4.5
    assert places[-1].tolist() == [30.0, 20.0]


def test_spread_of_one_and_of_none():
    assert spread(np.array([[3.0, 4.0]]), 1.0, 10, 10).tolist() == [[3.0, 4.0]]
    assert spread(np.zeros((0, 2)), 1.0, 10, 10).shape == (0, 2)


def test_boxes_can_be_seen_on_black():
    episodes = make_episodes(scales=4)
    figure = episode_sheet(**sheet_arguments(episodes))
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert min(box.get_alpha() for box in boxes) > 0.2 and min(box.get_linewidth() for box in boxes) > 0.5


def test_the_label_of_the_belief_leaves_the_numbers_of_glimpses_free():
    figure = episode_sheet(**sheet_arguments(make_episodes(glimpses=12, images=4)))
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        if axes.get_ylabel() == "glimpse":
            label = axes.yaxis.label.get_window_extent()
            assert not any(label.overlaps(text.get_window_extent()) for text in axes.get_yticklabels())


def test_episode_sheet_titles_tell_right_from_wrong():
    episodes = make_episodes(images=2, classes=3)
    episodes["labels"] = np.array([0, 1])
    episodes["probabilities"][-1] = [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]
    episodes["probabilities"][0] = [
        [0.0, 0.0, 1.0],
        [0.0, 1.0, 0.0],
    ]  # only the last belief is the prediction
    figure = episode_sheet(**sheet_arguments(episodes), class_names=["cat", "dog", "owl"])
    assert titles(figure) == ["✓ cat", "✗ dog, taken for owl"]
    beliefs = [axes.images[0].get_array() for axes in figure.axes if axes.get_ylabel() == "glimpse"]
    np.testing.assert_allclose(beliefs, np.swapaxes(episodes["probabilities"], 0, 1))


def test_episode_sheet_shows_at_most_so_many_images():
    episodes = sheet_arguments(make_episodes(images=5))
    assert len(titles(episode_sheet(**episodes, max_images=4))) == 4


def test_retina_sheet_shows_each_glimpse_and_all_together():
    episodes = make_episodes(glimpses=3, images=1)
    figure = retina_sheet(**retina_arguments(episodes))
    framed = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in framed][1:] == [
        "glimpse 1",
        "glimpse 2",
        "glimpse 3",
        "all together",
    ]
    shown = [np.asarray(axes.images[0].get_array()) for axes in framed]
    np.testing.assert_allclose(shown[0], to_rgb(episodes["images"][0]))
    for step in range(3):
        expected = reconstruct(episodes["glimpses"][step, 0], episodes["boxes"][step, 0], 20, 30)
        inside = covered(episodes["boxes"][step, 0], 20, 30)
        np.testing.assert_allclose(shown[step + 1][inside], np.repeat(expected[inside], 3, axis=-1))
    together = reconstruct_episode(episodes["glimpses"][:, 0], episodes["boxes"][:, 0], 20, 30)
    inside = covered(episodes["boxes"][:, 0].reshape(-1, 4), 20, 30)
    np.testing.assert_allclose(shown[-1][inside], np.repeat(together[inside], 3, axis=-1))
    strips = [axes.images[0].get_array() for axes in figure.axes if not axes.get_title()]
    np.testing.assert_allclose(strips[1][:, :SIDE, 0], episodes["glimpses"][1, 0, 0, ..., 0], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("classes", [2, 55])
def test_the_smallest_episodes_can_be_drawn(channels, classes):
    episodes = make_episodes(glimpses=1, images=1, scales=1, channels=channels, classes=classes)
    drawn(episode_sheet(**sheet_arguments(episodes)))
    drawn(retina_sheet(**retina_arguments(episodes)))
    drawn(location_heatmaps(episodes["locations"], 20, 30))
    gif = PillowImage.open(io.BytesIO(episode_gif(**episodes)))
    assert gif.n_frames == 1


# Animation


def test_episode_gif_has_a_frame_for_each_glimpse(tmp_path):
    episodes = make_episodes(glimpses=4, images=2)
    path = tmp_path / "plots" / "episodes.gif"
    data = episode_gif(**episodes, path=path, seconds=0.5, last_seconds=2.0)
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == ["episodes.gif"]
    gif = PillowImage.open(io.BytesIO(data))
    assert gif.n_frames == 4
    assert gif.info["loop"] == 0  # for ever
    durations, frames = [], []
    for frame in range(4):
        gif.seek(frame)
        durations.append(gif.info["duration"])
        frames.append(np.asarray(gif.convert("RGB")))
    assert durations == [500, 500, 500, 2000]
    assert len(data) < 500_000
    colours = [np.array([int(each[i : i + 2], 16) for i in (1, 3, 5)]) for each in glimpse_colours(4)]
    for frame, colour in zip(frames, colours, strict=True):  # the boxes of glimpse t are in the frame of glimpse t
        assert (np.abs(frame.astype(int) - colour).max(axis=-1) < 12).sum() > 30


# Style


def test_likeliest_classes_hold_the_true_one():
    beliefs = np.tile(np.linspace(0.0, 1.0, 30), (2, 1))
    np.testing.assert_array_equal(likeliest_classes(beliefs, label=3, limit=4), [3, 27, 28, 29])
    np.testing.assert_array_equal(likeliest_classes(beliefs, label=28, limit=3), [27, 28, 29])
    np.testing.assert_array_equal(likeliest_classes(beliefs[:, :3], label=0, limit=3), [0, 1, 2])


def test_to_rgb():
    np.testing.assert_allclose(to_rgb(np.full((1, 1, 1), 255, np.uint8)), [[[1, 1, 1]]])
    np.testing.assert_allclose(to_rgb(np.full((1, 1, 1), 0.5)), [[[0.5, 0.5, 0.5]]])
    np.testing.assert_allclose(to_rgb(np.array([[[51, 102, 255]]], np.uint8)), [[[0.2, 0.4, 1.0]]], rtol=1e-6)
    first, second = to_rgb(np.array([[[255, 0], [0, 255]]], np.uint8))[0]
    assert first[0] > first[2] and second[2] > second[0]  # two channels stay apart


def test_plots_leave_the_global_state_of_matplotlib_alone():
    code = "import sys, experiments.plots.agents; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


def test_modules_that_draw_nothing_do_not_load_matplotlib():
    names = [
        *("families", "pages.run_page", "plots.episode_files", "reports.results_pages", "evaluation.reading"),
        *("evaluation.overlap", "sweeps.report"),
    ]
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('experiments.{name}')\nassert 'matplotlib' not in sys.modules, '{name}'\n"
        for name in names
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
