"""Labels from right to left, against Python lists, with unchanged images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data import Plain, Source, reverse_dataset, reverse_symbols, sample_batch
from common.data.dataset import Dataset
from common.data.recipes.base import Recipe
from common.data.recipes.reversal import Reversed, flip_first

END = 10


def reverse_list(label):
    """Reverse the symbols of one label before its end symbol."""
    symbols = list(label)
    length = symbols.index(END) if END in symbols else len(symbols)
    return symbols[:length][::-1] + symbols[length:]


def make_labels(count=200, most=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, (count, most + 1)).astype(np.int32)
    labels[np.arange(most + 1) >= rng.integers(0, most + 1, (count, 1))] = END
    return labels


def make_dataset(labels):
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 4, 4, 1), dtype=np.uint8)
    source = Source(images, labels)
    names = tuple(map(str, range(10))) + ("end",) * (labels.ndim - 1)
    return Dataset("numbers", jax.tree.map(jnp.asarray, source), source, source, Plain(), names)


def test_symbols_before_the_end_symbol_are_reversed():
    labels = [[1, 2, 3, END], [4, END, END, END], [END, END, END, END], [5, 6, END, END], [7, 8, 9, 1]]
    expected = [[3, 2, 1, END], [4, END, END, END], [END, END, END, END], [6, 5, END, END], [1, 9, 8, 7]]
    assert reverse_symbols(np.array(labels), END).tolist() == expected


def test_reversal_equals_a_loop_and_is_its_own_inverse():
    labels = make_labels()
    backwards = reverse_symbols(labels, END)
    assert backwards.tolist() == [reverse_list(label) for label in labels.tolist()] and backwards.dtype == labels.dtype
    np.testing.assert_array_equal(reverse_symbols(backwards, END), labels)


def test_jit_and_vmap_give_the_same():
    labels = make_labels()
    one_by_one = jax.jit(jax.vmap(lambda label: reverse_symbols(label, END)))(labels)
    np.testing.assert_array_equal(one_by_one, reverse_symbols(labels, END))


def test_labels_of_fixed_splits_and_batches_are_reversed_and_images_unchanged():
    dataset = make_dataset(make_labels())
    backwards = reverse_dataset(dataset)
    for name in ("validation", "test"):
        before, after = getattr(dataset, name), getattr(backwards, name)
        assert after.images is before.images
        np.testing.assert_array_equal(after.labels, reverse_symbols(before.labels, END))
        assert isinstance(after.labels, np.ndarray) and after.labels.dtype == np.int32
    key = jax.random.key(3)
    sample = jax.jit(sample_batch, static_argnums=(2, 3))
    images, labels = sample(key, dataset.train, dataset.recipe, 32)
    same_images, reversed_labels = sample(key, backwards.train, backwards.recipe, 32)
    np.testing.assert_array_equal(same_images, images)
    np.testing.assert_array_equal(reversed_labels, reverse_symbols(labels, END))
    assert (np.asarray(reversed_labels) != np.asarray(labels)).any()
    assert backwards.num_targets == dataset.num_targets and backwards.end_symbol == END


def test_reversed_recipe_wraps_another_recipe():
    dataset = make_dataset(make_labels())
    recipe = Reversed(dataset.recipe, END)
    assert isinstance(recipe, Recipe) and hash(recipe) == hash(dataclasses.replace(recipe))
    assert recipe.name_classes(dataset.class_names) == dataset.class_names
    image, label = recipe.draw_of(jax.random.key(0), 7, dataset.train)
    np.testing.assert_array_equal(image, dataset.test.images[7])
    assert label.tolist() == reverse_list(dataset.test.labels[7].tolist())
    with pytest.raises(ValueError, match="with labels of shape"):
        recipe.check(Source(dataset.test.images, dataset.test.labels[1:]))


def test_single_classes_cannot_be_reversed():
    dataset = make_dataset(np.arange(20, dtype=np.int32) % 10)
    with pytest.raises(ValueError, match="^reverse: task 'numbers' has single classes as labels"):
        reverse_dataset(dataset)


def test_flip_first_reverses_the_first_values():
    values, flip = jnp.arange(8).reshape(2, 4), jax.jit(flip_first)
    assert flip(values, jnp.array([3, 0])).tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    assert flip(values, jnp.array([4, 1])).tolist() == [[3, 2, 1, 0], [4, 5, 6, 7]]
