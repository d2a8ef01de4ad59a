"""Pairs of digits, against a NumPy painter, an enumeration of all positions, and labels computed by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.data.dataset import load_task
from common.data.recipes.pairs import DIGITS, Pair, draw_pair, place_apart
from common.data.sampling import fixed_split, sample_batch
from common.data.source import Source
from common.data.tasks import TASKS

KEY = jax.random.key(11)
PAIR = Pair("sequence", 12, 15, 2, 3)


def _source(count=9, height=4, width=5, channels=1):
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (count, height, width, channels), dtype=np.uint8)
    return Source(images, rng.integers(0, 10, count).astype(np.int32))


@functools.partial(jax.jit, static_argnames=("pair", "count"))
def _draw_layouts(key, source, pair, count):
    keys, indices = jax.random.split(key, count), jnp.arange(count) % source.images.shape[0]
    return jax.vmap(lambda key, index: draw_pair(key, index, source, pair))(keys, indices)


def _boxes_overlap(first, second, size):
    return all(abs(a - b) < side for a, b, side in zip(first, second, size, strict=True))


@pytest.mark.parametrize(
    ("size", "positions"), [((4, 5), (9, 11)), ((4, 2), (5, 9)), ((3, 1), (6, 2)), ((1, 1), (3, 3))]
)
def test_ranks_enumerate_all_positions_without_overlap(size, positions):
    every = list(itertools.product(range(positions[0]), range(positions[1])))
    place = jax.jit(jax.vmap(functools.partial(place_apart, size=size, positions=positions), in_axes=(0, None, None)))
    ranks = jnp.arange(len(every), dtype=jnp.int32)
    for row, column in every:
        free = [other for other in every if not _boxes_overlap((row, column), other, size)]
        ranked = np.asarray(place(ranks, jnp.int32(row), jnp.int32(column)))[: len(free)]
        assert [tuple(position) for position in ranked.tolist()] == free


def test_digits_never_overlap_and_everything_lies_inside():
    source = _source()
    layouts = jax.tree.map(np.asarray, _draw_layouts(KEY, source, PAIR, 5000))
    gaps = np.abs(layouts.corners[:, 0] - layouts.corners[:, 1])
    assert ((gaps[:, 0] >= 4) | (gaps[:, 1] >= 5)).all() and (gaps[:, 0] == 4).any() and (gaps[:, 1] == 5).any()
    assert layouts.corners.min(axis=0).tolist() == [[0, 0], [0, 0]]
    assert layouts.corners.max(axis=0).tolist() == [[8, 10], [8, 10]]
    assert layouts.crop_corner.max(axis=(0, 1)).tolist() == [1, 2] and layouts.crop_corner.min() == 0
    assert layouts.paste_corner.max(axis=(0, 1)).tolist() == [9, 12] and layouts.paste_corner.min() == 0


def test_positions_and_digits_are_uniform():
    source = _source()
    layouts = jax.tree.map(np.asarray, _draw_layouts(KEY, source, PAIR, 45_000))
    place = layouts.corners[..., 0] * 11 + layouts.corners[..., 1]
    assert stats.chisquare(np.bincount(place[:, 0], minlength=99)).pvalue > 1e-4
    # The position of the second digit, over those that remain for each position of the first.
    first, second = np.divmod(np.arange(99), 11), np.divmod(np.arange(99), 11)
    gaps = [np.abs(a[:, None] - b[None]) for a, b in zip(first, second, strict=True)]
    apart = (gaps[0] >= 4) | (gaps[1] >= 5)
    expected = np.bincount(place[:, 0], minlength=99) / apart.sum(axis=1) @ apart
    assert stats.chisquare(np.bincount(place[:, 1], minlength=99), expected).pvalue > 1e-4
    step = (layouts.digits[:, 1] - layouts.digits[:, 0]) % 9 - 1
    assert stats.chisquare(np.bincount(step, minlength=8)).pvalue > 1e-4
    # Distractors come from the seven other images uniformly.
    others = [[i for i in range(9) if i not in pair] for pair in layouts.digits.tolist()]
    ranks = [images.index(index) for images, index in zip(others, layouts.distractor_index[:, 1].tolist(), strict=True)]
    assert stats.chisquare(np.bincount(ranks, minlength=7)).pvalue > 1e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_equals_a_numpy_painter(channels):
    source = _source(channels=channels)
    layouts = jax.tree.map(np.asarray, _draw_layouts(KEY, source, PAIR, 20))
    keys, indices = jax.random.split(KEY, 20), jnp.arange(20) % 9
    pictures, _ = jax.jit(jax.vmap(lambda key, index: PAIR.draw_of(key, index, source)))(keys, indices)
    for i in range(20):
        expected = np.zeros((12, 15, channels), np.uint8)
        for digit, (row, column) in zip(layouts.digits[i], layouts.corners[i], strict=True):
            assert not expected[row : row + 4, column : column + 5].any()
            expected[row : row + 4, column : column + 5] = source.images[digit]
        for d in range(2):
            (from_row, from_column), (row, column) = layouts.crop_corner[i, d], layouts.paste_corner[i, d]
            crop = source.images[layouts.distractor_index[i, d]][from_row : from_row + 3, from_column : from_column + 3]
            under = expected[row : row + 3, column : column + 3]
            expected[row : row + 3, column : column + 3] = np.maximum(under, crop)
        np.testing.assert_array_equal(pictures[i], expected)


def test_three_kinds_of_labels_agree():
    source = _source(50)
    keys, indices = jax.random.split(KEY, 400), jnp.arange(400) % 50
    labels = {}
    for label in ("set", "sequence", "sum"):
        pair = Pair(label, 12, 15, 2, 3)
        names = pair.name_classes(DIGITS)
        draw = jax.jit(jax.vmap(pair.draw_of, in_axes=(0, 0, None)))
        _, drawn = draw(keys, indices, source)
        assert drawn.dtype == np.int32
        labels[label] = [[names[symbol] for symbol in np.atleast_1d(each)] for each in np.asarray(drawn)]
    layouts = jax.jit(jax.vmap(lambda key, index: draw_pair(key, index, source, PAIR)))(keys, indices)
    for i in range(400):
        corners, digits = np.asarray(layouts.corners[i]).tolist(), source.labels[np.asarray(layouts.digits[i])]
        # By column, then by row.
        order = sorted(range(2), key=lambda digit, corners=corners: corners[digit][::-1])
        first, second = (int(digits[digit]) for digit in order)
        assert labels["sequence"][i] == [str(first), str(second), "end"]
        assert labels["set"][i] == [f"{min(first, second)} {max(first, second)}"]
        assert labels["sum"][i] == [str(first + second)]
    ties = np.asarray(layouts.corners[:, 0, 1] == layouts.corners[:, 1, 1])
    assert ties.any() and len({names[0] for names in labels["set"]}) > 40


def test_classes_have_their_names():
    names = Pair("set").name_classes(DIGITS)
    assert len(names) == len(set(names)) == 55 and names[:2] == ("0 0", "0 1") and names[-1] == "9 9" and "3 7" in names
    assert Pair("sequence").name_classes(DIGITS) == (*DIGITS, "end")
    assert Pair("sum").name_classes(DIGITS) == tuple(str(total) for total in range(19))


def test_tasks_of_pairs_have_their_recipes():
    recipes = [TASKS[name].recipe for name in ("pairs100", "pairs100_sequence", "addition100")]
    assert [recipe.label for recipe in recipes] == ["set", "sequence", "sum"]
    assert [recipe.num_distractors for recipe in recipes] == [8, 8, 0]
    assert all((recipe.height, recipe.width, recipe.distractor_size) == (100, 100, 8) for recipe in recipes)


def test_pairs_of_own_digits(tmp_path):
    arrays = {}
    colours = {"train": 50, "validation": 100, "test": 150}
    for split, colour in colours.items():
        arrays[f"{split}_images"] = np.full((20, 10, 10), colour, np.uint8)
        arrays[f"{split}_labels"] = np.arange(20) % 10
    np.savez(tmp_path / "digits.npz", **arrays)
    data = load_task("pairs100_sequence", data=tmp_path / "digits.npz")
    assert data.num_targets == 3 and data.num_classes == 11 and data.class_names[10] == "end"
    draw = jax.jit(sample_batch, static_argnames=("recipe", "batch_size"))
    batch, labels = draw(KEY, data.train, data.recipe, 16)
    assert labels.shape == (16, 3) and (labels[:, 2] == 10).all() and (labels[:, :2] < 10).all()
    # Both digits and the distractors come from the same split.
    for split, images in (("train", batch), ("validation", data.validation.images), ("test", data.test.images)):
        assert set(np.unique(images).tolist()) == {0, colours[split]}
        ink = (np.asarray(images) > 0).sum(axis=(1, 2, 3))
        assert ink.min() >= 200
    np.testing.assert_array_equal(load_task("pairs100", data=tmp_path / "digits.npz").test.images, data.test.images)


def test_fixed_image_shows_the_digit_of_its_index():
    source = _source(30, 28, 28)
    fixed = fixed_split(source, TASKS["addition100"], "test")
    for picture, digit, label, total in zip(fixed.images, source.images, source.labels, fixed.labels, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (28, 28))
        assert (windows[:, :, ::9, ::9] == digit[::9, ::9, 0]).all(axis=(2, 3)).any()
        assert label <= total <= label + 9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Pair("set").name_classes(("cat", "dog")), "classes 0 to 9.*cat, dog"),
        (
            lambda: PAIR.check(_source(height=5, width=6)),
            "^images of 5x6 pixels: .* 12x15 .* at most 4 high or 5 wide$",
        ),
        (lambda: PAIR.check(_source(height=13, width=2)), "^images of 13x2 pixels"),
        (lambda: PAIR.check(_source(2)), "^a split of 2 images .*: at least 3 of at least 3x3 pixels are needed$"),
        (lambda: Pair("sum", 12, 15).check(_source(1)), "^a split of 1 images .*: at least 2 are needed$"),
        (lambda: PAIR.check(_source(height=2)), "images of 2x.* pixels: at least 3 of at least 3x3 pixels are needed$"),
    ],
)
def test_errors_quote_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
