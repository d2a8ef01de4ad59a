"""Canvases against a NumPy painter, and the distributions of the drawn integers."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from common.data.recipes.base import Plain, draw_index
from common.data.recipes.canvas import (
    Canvas,
    draw_layout,
    paint,
)
from common.data.source import Source

CANVAS = Canvas(11, 13, 3, 4)
KEY = jax.random.key(7)


def _source(count=9, height=5, width=6, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return Source(images, rng.integers(0, 4, count).astype(np.int32))


def _paint_with_numpy(source, layout, canvas):
    picture = np.zeros((canvas.height, canvas.width, source.images.shape[-1]), np.uint8)
    image = source.images[int(layout.image)]
    row, column = np.asarray(layout.corner)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            picture[row + y, column + x] = image[y, x]
    for d in range(canvas.num_distractors):
        other = source.images[int(layout.distractor_index[d])]
        (from_row, from_column), (to_row, to_column) = layout.crop_corner[d], layout.paste_corner[d]
        for y in range(canvas.distractor_size):
            for x in range(canvas.distractor_size):
                new = other[from_row + y, from_column + x]
                old = picture[to_row + y, to_column + x]
                picture[to_row + y, to_column + x] = np.where(new > old, new, old)
    return picture


@functools.partial(jax.jit, static_argnames=("count", "canvas"))
def _draw_layouts(key, source, canvas, count):
    def draw(one):
        index_key, layout_key = jax.random.split(one)
        return draw_layout(layout_key, draw_index(index_key, source.images.shape[0]), source, canvas)

    return jax.vmap(draw)(jax.random.split(key, count))


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_equals_a_numpy_painter(channels):
    source = _source(channels=channels)
    layouts = _draw_layouts(KEY, source, CANVAS, 20)
    pictures = jax.jit(jax.vmap(lambda layout: paint(source, layout, CANVAS)))(layouts)
    for i in range(20):
        layout = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), layouts)
        np.testing.assert_array_equal(pictures[i], _paint_with_numpy(source, layout, CANVAS))


def test_everything_lies_inside_and_distractors_come_from_other_images():
    source = _source()
    layouts = jax.tree.map(np.asarray, _draw_layouts(KEY, source, CANVAS, 5000))
    assert layouts.corner.min(axis=0).tolist() == [0, 0]
    assert layouts.corner.max(axis=0).tolist() == [11 - 5, 13 - 6]
    assert layouts.crop_corner.min(axis=(0, 1)).tolist() == [0, 0]
    assert layouts.crop_corner.max(axis=(0, 1)).tolist() == [5 - 4, 6 - 4]
    assert layouts.paste_corner.min(axis=(0, 1)).tolist() == [0, 0]
    assert layouts.paste_corner.max(axis=(0, 1)).tolist() == [11 - 4, 13 - 4]
    assert set(layouts.distractor_index.ravel().tolist()) == set(range(9))
    assert not (layouts.distractor_index == layouts.image[:, None]).any()


def test_drawn_integers_are_uniform_and_independent():
    source = _source()
    layouts = jax.tree.map(np.asarray, _draw_layouts(KEY, source, CANVAS, 20_000))
    first, second = layouts.paste_corner[:, 0], layouts.paste_corner[:, 1]
    # Values and their number; two integers are combined into one.
    variables = {
        "image": (layouts.image, 9),
        "corner": (layouts.corner[:, 0] * 8 + layouts.corner[:, 1], 7 * 8),
        "other image": ((layouts.distractor_index[:, 2] - layouts.image) % 9 - 1, 8),
        "crop": (layouts.crop_corner[:, 1, 0] * 3 + layouts.crop_corner[:, 1, 1], 2 * 3),
        "paste": (first[:, 0] * 10 + first[:, 1], 8 * 10),
        "rows of two distractors": (first[:, 0] * 8 + second[:, 0], 8 * 8),
        "image row and distractor row": (layouts.corner[:, 0] * 8 + first[:, 0], 7 * 8),
        "image and distractor": (
            layouts.image * 8 + (layouts.distractor_index[:, 0] - layouts.image) % 9 - 1,
            72,
        ),
    }
    for name, (values, count) in variables.items():
        observed = np.bincount(values, minlength=count)
        assert len(observed) == count, name
        assert stats.chisquare(observed).pvalue > 1e-4, name


def test_distractors_never_darken_the_image_and_every_pixel_comes_from_the_source():
    source = Source(_source().images // 2 * 2, _source().labels)  # Even values only.
    layouts = _draw_layouts(KEY, source, CANVAS, 50)
    pictures = np.asarray(jax.jit(jax.vmap(lambda layout: paint(source, layout, CANVAS)))(layouts))
    for picture, image, (row, column) in zip(pictures, layouts.image, layouts.corner, strict=True):
        assert (picture[row : row + 5, column : column + 6] >= source.images[image]).all()
    assert set(np.unique(pictures)) <= {0, *np.unique(source.images).tolist()}


def test_64_bits_do_not_change_a_sample():
    source = _source()
    expected = jax.jit(CANVAS.draw)(KEY, source)
    with jax.enable_x64(True):
        image, label = jax.jit(CANVAS.draw)(KEY, source)
    assert image.dtype == np.uint8 and label.dtype == np.int32
    np.testing.assert_array_equal(image, expected[0])
    assert label == expected[1]


def test_image_that_fills_the_canvas_is_unchanged():
    source = _source()
    image, label = jax.jit(Canvas(5, 6).draw_of)(KEY, 4, source)
    np.testing.assert_array_equal(image, source.images[4])
    assert label == source.labels[4]


def test_plain_recipe_returns_the_image_unchanged():
    source = _source()
    image, label = Plain().draw_of(KEY, 4, source)
    np.testing.assert_array_equal(image, source.images[4])
    assert label == source.labels[4]
    image, label = Plain().draw(KEY, source)
    assert any((np.asarray(image) == other).all() and label == cls for other, cls in zip(*source, strict=True))


@pytest.mark.parametrize("recipe", [CANVAS, Plain()])
def test_jit_and_vmap_give_the_same_as_single_draws(recipe):
    source = _source()
    keys = jax.random.split(KEY, 4)
    images, labels = jax.jit(jax.vmap(recipe.draw, in_axes=(0, None)))(keys, source)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    for i, key in enumerate(keys):
        image, label = recipe.draw(key, source)
        np.testing.assert_array_equal(images[i], image)
        assert labels[i] == label


@pytest.mark.parametrize(
    ("source", "recipe", "message"),
    [
        (_source(), Canvas(4, 9), "^images of 5x6 pixels: a canvas needs .* at most 4x9"),
        (_source(), Canvas(9, 5), "^images of 5x6 pixels: a canvas needs .* at most 9x5"),
        (_source(), Canvas(20, 20, 1, 6), "images of 5x6 pixels: at least 2 of at least 6x6 pixels are needed"),
        (_source(count=1), Canvas(20, 20, 1, 2), "^a split of 1 images of 5x6 pixels: at least 2 of"),
        (Source(np.zeros((0, 5, 5, 1), np.uint8), np.zeros(0, np.int32)), Plain(), r"\(0, 5, 5, 1\)"),
        (Source(np.zeros((3, 5, 5), np.uint8), np.zeros(3, np.int32)), Plain(), r"\(3, 5, 5\)"),
        (Source(np.zeros((3, 5, 5, 1), np.uint8), np.zeros(2, np.int32)), Plain(), r"labels of shape \(2,\)"),
    ],
)
def test_errors_quote_the_shape(source, recipe, message):
    with pytest.raises(ValueError, match=message):
        recipe.check(source)
    with pytest.raises(ValueError, match=message):
        recipe.draw(KEY, source)
    with pytest.raises(ValueError, match=message):
        jax.jit(recipe.draw)(KEY, source)


def test_distractor_size_does_not_matter_without_distractors():
    image, _ = Canvas(3, 3, 0, 50).draw(KEY, _source(count=1, height=2, width=2))
    assert image.shape == (3, 3, 1)
