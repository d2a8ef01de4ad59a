"""Distorted digits: what is drawn, how often, and that it is the same however it is compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.data.mnist import load_mnist
from common.data.recipes import warps
from common.data.recipes.base import Recipe
from common.data.recipes.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.source import Source
from common.data.tasks import TASKS, fixed_split

KEY = jax.random.key(7)
RECIPES = [Rotated(), RotatedScaledMoved(), Projected(), Elastic(), TwoChannelSum()]
IDS = [type(recipe).__name__ for recipe in RECIPES]


@pytest.fixture(scope="module")
def digits():
    return jax.tree.map(lambda leaf: leaf[:64], load_mnist()["validation"])


def _maps(recipe, count=2000, height=28, width=28):
    draw = jax.jit(jax.vmap(lambda key: recipe.draw_map(key, height, width)))
    return np.asarray(draw(jax.random.split(KEY, count))) / warps.PIXEL


def _sample(recipe, source):
    draw = jax.vmap(lambda index: recipe.draw_of(jax.random.fold_in(KEY, index), index, source))
    return draw(jnp.arange(len(source.labels), dtype=jnp.int32))


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_bits_do_not_depend_on_how_it_is_run(recipe, digits):
    """With 64 bits or without (and the digests of the tasks are of optimised programs): there is nothing to round."""
    assert isinstance(recipe, Recipe)
    images, labels = jax.jit(functools.partial(_sample, recipe))(digits)
    with jax.enable_x64(True):
        wide = jax.jit(functools.partial(_sample, recipe))(digits)
    np.testing.assert_array_equal(images, wide[0])
    np.testing.assert_array_equal(labels, wide[1])
    assert images.dtype == np.uint8 and labels.dtype == np.int32


@pytest.mark.parametrize(("recipe", "side"), list(zip(RECIPES, (28, 42, 28, 28, 42), strict=True)), ids=IDS)
def test_ink_is_kept(recipe, side, digits):
    """Digits stay on the canvas and keep their grey levels; only the scale changes how much ink there is."""
    images, _ = jax.jit(functools.partial(_sample, recipe))(digits)
    assert images.shape == (64, side, side, 2 if isinstance(recipe, TwoChannelSum) else 1)
    ink = np.asarray(images[..., 0]).sum(axis=(1, 2), dtype=float) / digits.images.sum(axis=(1, 2, 3), dtype=float)
    assert ink.min() > 0.04 and ink.max() < 1.7
    assert np.median(np.asarray(images).max(axis=(1, 2))) > 200


def test_rotation_is_uniform_between_its_limits():
    maps = _maps(Rotated())
    step = maps[:, 13, 27] - maps[:, 13, 0]
    angles = -np.degrees(np.arctan2(step[:, 1], step[:, 0]))
    assert np.abs(angles).max() <= 90.1
    assert stats.kstest(angles, stats.uniform(-90, 180).cdf).pvalue > 0.01
    np.testing.assert_allclose(np.hypot(*step.T), 27, atol=0.05)
    np.testing.assert_allclose(maps[:, 13:15, 13:15].mean(axis=(1, 2)), 13.5, atol=0.01)


def test_scale_angle_and_place():
    maps = _maps(RotatedScaledMoved())
    step = (maps[:, 20, 41] - maps[:, 20, 0]) / 41
    scales, angles = 1 / np.hypot(*step.T), -np.degrees(np.arctan2(step[:, 1], step[:, 0]))
    assert stats.kstest(scales, stats.uniform(0.7, 0.5).cdf).pvalue > 0.01
    assert stats.kstest(angles, stats.uniform(-45, 90).cdf).pvalue > 0.01
    # Where the centre of the digit is seen, from the canvas's centre.
    back = np.linalg.inv(np.stack([step, maps[:, 1, 0] - maps[:, 0, 0]], axis=-1))
    place = np.einsum("nij,nj->ni", back, 13.5 - maps[:, 0, 0]) - 20.5
    room = 21 - 14 * scales
    for axis in range(2):
        assert stats.kstest(place[:, axis] / room, stats.uniform(-1, 2).cdf).pvalue > 0.01


def _corners(shown):
    """Where the corners of an image lie from the middle of its projection [H, W, 2], in pixels [4, 2]."""
    rows, columns = np.nonzero((shown > -0.5).all(-1) & (shown < 27.5).all(-1))
    (u, v), x, y = shown[rows, columns].T, columns - 13.5, rows - 13.5
    zero, one = np.zeros_like(u), np.ones_like(u)
    # x (c . (u, v, 1)) = a . (u, v, 1), and so for y: the null space holds the map from the image to the projection.
    across = np.stack([u, v, one, zero, zero, zero, -x * u, -x * v, -x], axis=-1)
    down = np.stack([zero, zero, zero, u, v, one, -y * u, -y * v, -y], axis=-1)
    matrix = np.linalg.svd(np.concatenate([across, down]), full_matrices=False)[2][-1].reshape(3, 3)
    ends = np.array([[-0.5, -0.5, 1], [27.5, -0.5, 1], [27.5, 27.5, 1], [-0.5, 27.5, 1]]) @ matrix.T
    return ends[:, :2] / ends[:, 2:]


def test_projections_stretch_corners_outwards_as_asked():
    outwards = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    reach = np.array([_corners(shown) for shown in _maps(Projected(), 1000)]) * outwards
    # A corner stays on its diagonal.
    assert np.median(np.abs(reach[..., 0] - reach[..., 1])) < 0.1
    # The scale of the square, the same for all corners, is no part of the difference of two.
    apart = (reach[:, 0] - reach[:, 2]).mean(-1) / np.sqrt(2)
    # Amounts that would fold are halved.
    assert 0.9 * 5 < apart.std() < 5.1
    assert abs(reach.mean() - 14 * 0.875) < 0.3
    still = np.array([_corners(shown) for shown in _maps(Projected(deviation=0.0), 300)]) * outwards
    assert stats.kstest(still.mean(axis=(1, 2)) / 14, stats.uniform(0.75, 0.25).cdf).pvalue > 0.01


def test_projections_spread_as_asked_and_never_fold():
    maps = _maps(Projected(), 3000)
    seen = (maps[..., 0] > -1) & (maps[..., 1] > -1)
    area = seen.mean(axis=(1, 2))
    # A square of 0.75 to 1 of the side, part of which the corners push outside.
    assert 0.55 < area.mean() < 0.75 and area.min() > 0.1
    # A fold would show a pixel's right neighbour to its left.
    both = seen[:, :, 1:] & seen[:, :, :-1]
    turned = np.cross((maps[:, :-1, 1:] - maps[:, :-1, :-1]), (maps[:, 1:, :-1] - maps[:, :-1, :-1]))
    assert (turned[both[:, :-1] & seen[:, 1:, :-1]] > 0).all()


def test_bends_spread_as_asked():
    maps = _maps(Elastic(), 3000)
    steps = maps[:, 14, 27] - maps[:, 14, 0]
    # The scale alone: 27 / s, with s uniform from 0.75 to 1.
    assert steps[:, 0].mean() == pytest.approx(27 * 4 * np.log(4 / 3), rel=0.01)
    plain = jax.jit(jax.vmap(lambda key: Elastic(deviation=0.0).draw_map(key, 28, 28)))
    still = np.asarray(plain(jax.random.split(KEY, 3000))) / warps.PIXEL
    basis = warps.spline_table(28, 28, 4)[14, 0] / warps.UNIT
    # Both maps have the same scales, and a displacement is divided by the scale too.
    scale = 27 / (still[:, 14, 27, 0] - still[:, 14, 0, 0])
    bend = (maps[:, 14, 0] - still[:, 14, 0]) * scale[:, None]
    assert bend.std() == pytest.approx(1.5 * np.linalg.norm(basis), rel=0.04)


def test_two_channels_hold_two_digits_and_their_sum():
    """Images of one grey level each, so that what is in a channel tells which image it was."""
    levels = np.arange(1, 21, dtype=np.uint8) * 12
    labels = np.arange(20, dtype=np.int32) % 10
    source = Source(np.broadcast_to(levels[:, None, None, None], (20, 28, 28, 1)), labels)
    draw = jax.jit(jax.vmap(lambda key, index: TwoChannelSum().draw_of(key, index, source)))
    index = np.repeat(np.arange(20, dtype=np.int32), 100)
    images, sums = draw(jax.random.split(KEY, 2000), index)
    first, second = (np.asarray(images)[..., c].max(axis=(1, 2)).astype(int) // 12 - 1 for c in (0, 1))
    np.testing.assert_array_equal(first, index)
    np.testing.assert_array_equal(sums, labels[first] + labels[second])
    assert (first != second).all()
    others = np.bincount((second - first) % 20, minlength=20)
    assert others[0] == 0 and stats.chisquare(others[1:]).pvalue > 0.01
    # Each channel is warped by itself.
    boxes = (np.asarray(images) > 0).sum(axis=(1, 2))
    assert np.abs(stats.spearmanr(boxes[:, 0], boxes[:, 1]).statistic) < 0.1


def test_sums_have_names():
    assert TwoChannelSum().name_classes(tuple("0123456789")) == tuple(str(i) for i in range(19))
    with pytest.raises(ValueError, match="^sums are made of the classes 0 to 9; the classes of the data are cat, dog$"):
        TwoChannelSum().name_classes(("cat", "dog"))


def test_tasks_are_made_by_these_recipes(digits):
    expected = {
        "distorted/R": (28, 28, 1),
        "distorted/RTS": (42, 42, 1),
        "distorted/P": (28, 28, 1),
        "distorted/E": (28, 28, 1),
        "tc60": (60, 60, 1),
        "two_channel_addition42": (42, 42, 2),
        "T84": (84, 84, 1),
        "TC84": (84, 84, 1),
    }
    few = jax.tree.map(lambda leaf: leaf[:3], digits)
    for name, shape in expected.items():
        assert fixed_split(few, TASKS[name], "test").images.shape == (3, *shape)
    assert (TASKS["tc60"].recipe.num_distractors, TASKS["tc60"].recipe.distractor_size) == (6, 6)
    assert (TASKS["TC84"].recipe.num_distractors, TASKS["TC84"].recipe.distractor_size) == (16, 6)
    assert TASKS["T84"].recipe.num_distractors == 0


def _blank(count, side):
    return Source(np.zeros((count, side, side, 1), np.uint8), np.zeros(count, np.int32))


@pytest.mark.parametrize(
    ("recipe", "source", "quoted"),
    [
        (Rotated(), _blank(2, 36), "36x36 pixels; at most 35x35 can be distorted"),
        (RotatedScaledMoved(30, 30), _blank(2, 28), "28x28 pixels; scaled by 1.2 they must fit a canvas of 30x30"),
        (Projected(), _blank(2, 7), "7x7 pixels; they must be 8x8 to be projected"),
        (TwoChannelSum(), _blank(1, 28), "too few images for sums, 1; at least 2 are needed"),
    ],
)
def test_mistakes_are_quoted(recipe, source, quoted):
    with pytest.raises(ValueError, match=quoted):
        recipe.check(source)
