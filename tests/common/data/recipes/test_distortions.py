"""Distorted digits: their distributions, and the same bits however they are compiled."""

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
from common.data.sampling import fixed_split
from common.data.source import Source
from common.data.tasks import TASKS

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
def test_bits_are_the_same_in_32_and_64_bits(recipe, digits):
    """Everything is an integer, so nothing is rounded."""
    assert isinstance(recipe, Recipe)
    images, labels = jax.jit(functools.partial(_sample, recipe))(digits)
    with jax.enable_x64(True):
        wide = jax.jit(functools.partial(_sample, recipe))(digits)
    np.testing.assert_array_equal(images, wide[0])
    np.testing.assert_array_equal(labels, wide[1])
    assert images.dtype == np.uint8 and labels.dtype == np.int32


@pytest.mark.parametrize(("recipe", "side"), list(zip(RECIPES, (28, 42, 28, 28, 42), strict=True)), ids=IDS)
def test_digits_keep_their_ink(recipe, side, digits):
    """Digits stay on the canvas and keep their gray levels; only the scale changes the amount of ink."""
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


def test_scale_angle_and_position_are_uniform():
    maps = _maps(RotatedScaledMoved())
    step = (maps[:, 20, 41] - maps[:, 20, 0]) / 41
    scales, angles = 1 / np.hypot(*step.T), -np.degrees(np.arctan2(step[:, 1], step[:, 0]))
    assert stats.kstest(scales, stats.uniform(0.7, 0.5).cdf).pvalue > 0.01
    assert stats.kstest(angles, stats.uniform(-45, 90).cdf).pvalue > 0.01
    # The centre of the digit, relative to the centre of the canvas.
    inverse = np.linalg.inv(np.stack([step, maps[:, 1, 0] - maps[:, 0, 0]], axis=-1))
    position = np.einsum("nij,nj->ni", inverse, 13.5 - maps[:, 0, 0]) - 20.5
    room = 21 - 14 * scales
    for axis in range(2):
        assert stats.kstest(position[:, axis] / room, stats.uniform(-1, 2).cdf).pvalue > 0.01


def _corners(shown):
    """Return the corners of an image from its projection [H, W, 2], relative to the centre in pixels [4, 2]."""
    rows, columns = np.nonzero((shown > -0.5).all(-1) & (shown < 27.5).all(-1))
    (u, v), x, y = shown[rows, columns].T, columns - 13.5, rows - 13.5
    zero, one = np.zeros_like(u), np.ones_like(u)
    # x (c . (u, v, 1)) = a . (u, v, 1), and so for y: the null space holds the map from the image to the projection.
    across = np.stack([u, v, one, zero, zero, zero, -x * u, -x * v, -x], axis=-1)
    down = np.stack([zero, zero, zero, u, v, one, -y * u, -y * v, -y], axis=-1)
    matrix = np.linalg.svd(np.concatenate([across, down]), full_matrices=False)[2][-1].reshape(3, 3)
    ends = np.array([[-0.5, -0.5, 1], [27.5, -0.5, 1], [27.5, 27.5, 1], [-0.5, 27.5, 1]]) @ matrix.T
    return ends[:, :2] / ends[:, 2:]


def test_projections_move_corners_by_normal_amounts():
    outwards = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    reach = np.array([_corners(shown) for shown in _maps(Projected(), 1000)]) * outwards
    # A corner stays on its diagonal.
    assert np.median(np.abs(reach[..., 0] - reach[..., 1])) < 0.1
    # The difference of two corners does not depend on the scale of the square.
    difference = (reach[:, 0] - reach[:, 2]).mean(-1) / np.sqrt(2)
    # Amounts that would fold the image are halved.
    assert 0.9 * 5 < difference.std() < 5.1
    assert abs(reach.mean() - 14 * 0.875) < 0.3
    still = np.array([_corners(shown) for shown in _maps(Projected(deviation=0.0), 300)]) * outwards
    assert stats.kstest(still.mean(axis=(1, 2)) / 14, stats.uniform(0.75, 0.25).cdf).pvalue > 0.01


def test_projections_never_fold():
    maps = _maps(Projected(), 3000)
    seen = (maps[..., 0] > -1) & (maps[..., 1] > -1)
    area = seen.mean(axis=(1, 2))
    # A square of 0.75 to 1 of the side, partly moved outside by its corners.
    assert 0.55 < area.mean() < 0.75 and area.min() > 0.1
    # A fold would change the orientation of neighbouring pixels.
    both = seen[:, :, 1:] & seen[:, :, :-1]
    orientation = np.cross((maps[:, :-1, 1:] - maps[:, :-1, :-1]), (maps[:, 1:, :-1] - maps[:, :-1, :-1]))
    assert (orientation[both[:, :-1] & seen[:, 1:, :-1]] > 0).all()


def test_elastic_displacements_have_their_deviation():
    maps = _maps(Elastic(), 3000)
    steps = maps[:, 14, 27] - maps[:, 14, 0]
    # The scale gives 27 / s, with s uniform from 0.75 to 1.
    assert steps[:, 0].mean() == pytest.approx(27 * 4 * np.log(4 / 3), rel=0.01)
    plain = jax.jit(jax.vmap(lambda key: Elastic(deviation=0.0).draw_map(key, 28, 28)))
    still = np.asarray(plain(jax.random.split(KEY, 3000))) / warps.PIXEL
    basis = warps.spline_table(28, 28, 4)[14, 0] / warps.UNIT
    # Both maps have the same scales, and displacements are divided by the scale too.
    scale = 27 / (still[:, 14, 27, 0] - still[:, 14, 0, 0])
    displacement = (maps[:, 14, 0] - still[:, 14, 0]) * scale[:, None]
    assert displacement.std() == pytest.approx(1.5 * np.linalg.norm(basis), rel=0.04)


def test_two_channels_hold_two_digits_and_their_sum():
    """Each image has its own gray level, which identifies it in a channel."""
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
    # The warps of the channels are independent.
    boxes = (np.asarray(images) > 0).sum(axis=(1, 2))
    assert np.abs(stats.spearmanr(boxes[:, 0], boxes[:, 1]).statistic) < 0.1


def test_sums_have_their_names():
    assert TwoChannelSum().name_classes(tuple("0123456789")) == tuple(str(i) for i in range(19))
    with pytest.raises(ValueError, match="^sums need the classes 0 to 9; the classes of the images are cat, dog$"):
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
    ("recipe", "source", "message"),
    [
        (Rotated(), _blank(2, 36), "^images of 36x36 pixels: Rotated needs at least 1x1 and at most 35x35$"),
        (
            RotatedScaledMoved(30, 30),
            _blank(2, 28),
            "^images of 28x28 pixels: a canvas of 30x30 for images scaled by 1.2 needs .* at most 25x25$",
        ),
        (Projected(), _blank(2, 7), "^images of 7x7 pixels: Projected needs at least 8x8 and at most 35x35$"),
        (TwoChannelSum(), _blank(1, 28), "^a split of 1 images of 28x28 pixels: at least 2 are needed$"),
    ],
)
def test_errors_quote_the_value(recipe, source, message):
    with pytest.raises(ValueError, match=message):
        recipe.check(source)
