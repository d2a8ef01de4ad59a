"""Training batches and fixed splits: what each image depends on."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from common.data.augmentation import random_shift
from common.data.digests import digest
from common.data.mnist import load_mnist
from common.data.recipes.base import Plain
from common.data.recipes.canvas import Canvas
from common.data.sampling import fixed_layouts, fixed_split, sample_batch
from common.data.source import Source
from common.data.tasks import TASKS, Task

KEY = jax.random.key(3)
SMALL = Task("small", Canvas(12, 14, 2, 3), "for these tests", 5)


def _source(count=300, size=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return Source(images, rng.integers(0, 4, count).astype(np.int32))


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


def test_translated_canvas_holds_exactly_its_digit(mnist):
    source = jax.tree.map(lambda leaf: leaf[:50], mnist["test"])
    made = fixed_split(source, TASKS["translated60"], "test")
    for picture, digit in zip(made.images[..., 0], source.images[..., 0], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (28, 28))
        assert (windows == digit).all(axis=(2, 3)).any()
        assert picture.astype(int).sum() == digit.astype(int).sum()


@pytest.mark.parametrize("name", ["T84", "TC84"])
def test_fixed_layouts_say_where_the_digits_and_the_distractors_are(mnist, name):
    few = jax.tree.map(lambda leaf: leaf[:40], mnist["test"])
    made, layouts = fixed_split(few, TASKS[name], "test"), fixed_layouts(few, TASKS[name], "test")
    corners = layouts.corner
    assert corners.shape == (40, 2) and corners.min() >= 0 and corners.max() <= 84 - 28
    for picture, digit, (row, column) in zip(made.images, few.images, corners, strict=True):
        window = picture[row : row + 28, column : column + 28]
        # Distractors only brighten.
        assert (window >= digit).all() and (name == "TC84" or (window == digit).all())
    canvas = TASKS[name].recipe
    outside = np.ones(made.images.shape[:3], bool)
    for mask, corner, pasted in zip(outside, corners, layouts.paste_corner, strict=True):
        for (row, column), side in [(corner, 28), *((each, canvas.distractor_size) for each in pasted)]:
            mask[row : row + side, column : column + side] = False
    assert made.images[outside].max() == 0


def test_fixed_image_depends_only_on_seed_split_and_index():
    source = _source()
    for number, split in enumerate(("train", "validation", "test")):
        key = jax.random.fold_in(jax.random.key(SMALL.seed, impl="threefry2x32"), number)
        made = fixed_split(source, SMALL, split)
        for i in (0, 255, 256, 299):  # At the ends of the chunks.
            image, label = SMALL.recipe.draw_of(jax.random.fold_in(key, i), i, source)
            np.testing.assert_array_equal(made.images[i], image)
            assert made.labels[i] == label == source.labels[i]


def test_without_distractors_a_fixed_split_does_not_depend_on_its_length():
    task = Task("plain", Canvas(12, 14), "for these tests", 5)
    source = _source()
    few = jax.tree.map(lambda leaf: leaf[:7], source)
    np.testing.assert_array_equal(fixed_split(few, task, "test").images, fixed_split(source, task, "test").images[:7])


def test_fixed_images_differ_between_splits_and_seeds():
    source = _source(50)
    made = [
        fixed_split(source, SMALL, "test"),
        fixed_split(source, SMALL, "validation"),
        fixed_split(source, Task("other", SMALL.recipe, "", 6), "test"),
    ]
    assert len({digest(one) for one in made}) == 3
    assert digest(fixed_split(source, SMALL, "test")) == digest(made[0])


@pytest.mark.parametrize("recipe", [SMALL.recipe, Plain()])
def test_batch_depends_only_on_the_key(recipe):
    source = _source()
    draw = functools.partial(sample_batch, train=source, recipe=recipe, batch_size=32)
    images, labels = draw(KEY)
    assert images.shape == (32, *((6, 6) if recipe == Plain() else (12, 14)), 1)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    jitted = jax.jit(sample_batch, static_argnames=("recipe", "batch_size"))(KEY, source, recipe, 32)
    np.testing.assert_array_equal(images, jitted[0])
    np.testing.assert_array_equal(labels, jitted[1])
    assert (np.asarray(draw(jax.random.key(4))[0]) != np.asarray(images)).any()


def test_batch_draws_images_uniformly():
    count = 50
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    source = Source(images, np.arange(count, dtype=np.int32))
    drawn, labels = sample_batch(KEY, source, Plain(), 20_000)
    np.testing.assert_array_equal(np.asarray(drawn).ravel(), labels)
    assert stats.chisquare(np.bincount(labels, minlength=count)).pvalue > 1e-4


def test_augmentation_has_its_own_key():
    source = _source()
    draw_key, shift_key = jax.random.split(KEY)
    images, labels = sample_batch(draw_key, source, SMALL.recipe, 16)
    moved, same = sample_batch(KEY, source, SMALL.recipe, 16, functools.partial(random_shift, pixels=2))
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(moved, random_shift(shift_key, images, 2))
    assert (moved != images).any()


def test_training_images_are_an_argument_of_the_program_and_not_a_constant():
    source = jax.tree.map(jax.numpy.asarray, _source())
    program = jax.make_jaxpr(sample_batch, static_argnums=(2, 3))(KEY, source, SMALL.recipe, 4)
    assert all(np.size(constant) < 100 for constant in program.consts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_split(_source(3, size=13), SMALL, "test"), "13x13 pixels.*at most 12x14"),
        (lambda: sample_batch(KEY, _source(3, size=2), SMALL.recipe, 4), "2x2 pixels.*at least 3x3"),
    ],
)
def test_errors_quote_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
