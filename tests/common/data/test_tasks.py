"""Tasks: the published digests, batches, and the splits staying apart."""

import dataclasses
import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.data import tasks
from common.data.augmentation import random_shift
from common.data.mnist import load_mnist
from common.data.recipes.base import Plain, Recipe, check_source, draw_any, label_of, sample_shapes
from common.data.recipes.canvas import Canvas
from common.data.recipes.pairs import DIGITS
from common.data.source import Source
from common.data.tasks import (
    DIGESTS,
    TASKS,
    Task,
    digest,
    find_task,
    fixed_corners,
    fixed_split,
    load_task,
    sample_batch,
)

KEY = jax.random.key(3)
SMALL = Task("small", Canvas(12, 14, 2, 3), "for these tests", 5)


def _source(count=300, size=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return Source(images, rng.integers(0, 4, count).astype(np.int32))


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


@pytest.fixture(scope="module")
def cluttered60():
    return load_task("cluttered60")


@pytest.mark.parametrize(("name", "split"), list(DIGESTS))
def test_published_digests(mnist, name, split):
    made = fixed_split(mnist[split], TASKS[name], split)
    shape, _ = sample_shapes(TASKS[name].recipe, mnist[split])
    assert made.images.shape == (len(mnist[split].labels), *shape) and made.images.dtype == np.uint8
    if TASKS[name].recipe.name_classes(DIGITS) == DIGITS:
        np.testing.assert_array_equal(made.labels, mnist[split].labels)
    assert digest(made) == DIGESTS[name, split]


# SHA-256 of 64 training images from key 0: training draws, too, stay as they are.
TRAINING_DIGESTS = {
    "mnist28": "1be42bb56e14470201d79368b94dde103d9630a39dea14c698f3c48802b98292",
    "translated60": "8fba36261aa8932a45d646f4a8e33fc2bdc2e1106da6414d7d3cbb6661647d15",
    "cluttered60": "6391df15cdd2f1a43dd6daa5ba92f7145d1f010c2b98373952f5be9302351cae",
    "cluttered100": "908a7ff9db1ff510e7bd7136899f3ca8dcec8018441c2bf9d301f5d40b89cc1e",
    "augmented100": "d3f308d4139b2fb7520c28e7b09d9d237a6786f0ce50dbc28385b243832ff03a",
    "distorted/R": "b66c2f2a3fc4a054924952bf3518811070dd0bbbc289dc9d6bf1e7ae7ecbb54f",
    "distorted/RTS": "87a58d9b51cb7caf8ae274b0dfd3aff9882f0243cb045181a85344f89cead651",
    "distorted/P": "f43670de7221db0ef035b56cd6d69739d1d998199e80f7ec65d6890f10bfbdc1",
    "distorted/E": "7f5b7678f3404ede18c74052910499ff81ce8682f2073c529f4b475842532f9a",
    "tc60": "19942111abf52db4eb00aa72e64fa9500d19848596b355d2a938d92cd4de283c",
    "two_channel_addition42": "f23300aa93e30965800e893d937b8ac4d3342d11451856befc700b89aa645fa0",
    "T84": "65800eabad403f6f6b9fc4c5bfd42e58815ddd1d1dd58435f001e58a9000616b",
    "TC84": "f674bd2e777f9f235ddab200fa4dbc692d5f4fe2e5f722c04e85e5803cf10cda",
}


@pytest.mark.parametrize("name", TRAINING_DIGESTS)
def test_training_batches_stay_as_they_are(mnist, name):
    drawn = jax.jit(functools.partial(sample_batch, recipe=TASKS[name].recipe, batch_size=64))(
        jax.random.key(0, impl="threefry2x32"), mnist["train"]
    )
    assert digest(Source(*map(np.asarray, drawn))) == TRAINING_DIGESTS[name]


def test_every_mnist_task_has_digests_and_a_seed_of_its_own():
    made = {name: task.seed for name, task in TASKS.items() if name != "images" and task.numbers is None}
    assert set(DIGESTS) == {(name, split) for name in made for split in ("validation", "test")}
    assert made.pop("pairs100_sequence") == made["pairs100"]
    assert len(set(made.values())) == len(made)
    assert all(name == task.name for name, task in TASKS.items())


@pytest.mark.parametrize(
    ("name", "height", "distractors", "size"),
    [
        ("translated60", 60, 0, None),
        ("cluttered60", 60, 4, 8),
        ("cluttered100", 100, 8, 8),
        ("augmented100", 100, 8, 9),
    ],
)
def test_recipes(name, height, distractors, size):
    canvas = TASKS[name].recipe
    assert (canvas.height, canvas.width, canvas.num_distractors) == (height, height, distractors)
    assert size is None or canvas.distractor_size == size


def test_dataset(cluttered60, mnist):
    data = cluttered60
    assert (data.height, data.width, data.channels, data.num_classes) == (60, 60, 1, 10)
    assert data.class_names == tuple("0123456789") and data.recipe == TASKS["cluttered60"].recipe
    assert isinstance(data.train.images, jax.Array) and data.train.labels.dtype == np.int32
    np.testing.assert_array_equal(data.train.images, mnist["train"].images)
    # The ink of the digit is on its canvas, and no more than the ink of the distractors is added.
    ink = data.test.images.astype(int).sum(axis=(1, 2, 3)) - mnist["test"].images.astype(int).sum(axis=(1, 2, 3))
    assert ink.min() >= 0 and ink.max() <= 4 * 64 * 255 and ink.mean() > 0


def test_translated_canvas_holds_exactly_its_digit(mnist):
    source = jax.tree.map(lambda leaf: leaf[:50], mnist["test"])
    made = fixed_split(source, TASKS["translated60"], "test")
    for picture, digit in zip(made.images[..., 0], source.images[..., 0], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (28, 28))
        assert (windows == digit).all(axis=(2, 3)).any()
        assert picture.astype(int).sum() == digit.astype(int).sum()


@pytest.mark.parametrize("name", ["T84", "TC84"])
def test_corners_are_where_the_digits_are(mnist, name):
    few = jax.tree.map(lambda leaf: leaf[:40], mnist["test"])
    made, corners = fixed_split(few, TASKS[name], "test"), fixed_corners(few, TASKS[name], "test")
    assert corners.shape == (40, 2) and corners.min() >= 0 and corners.max() <= 84 - 28
    for picture, digit, (row, column) in zip(made.images, few.images, corners, strict=True):
        window = picture[row : row + 28, column : column + 28]
        # Distractors only brighten.
        assert (window >= digit).all() and (name == "TC84" or (window == digit).all())


def test_corners_are_of_canvases_only(mnist):
    with pytest.raises(ValueError, match="^task 'distorted/R' puts no image at a place of its own"):
        fixed_corners(mnist["test"], TASKS["distorted/R"], "test")


def test_digest_of_known_bytes():
    source = Source(np.array([1, 2, 3, 4], np.uint8).reshape(2, 1, 2, 1), np.array([258, 7]))
    assert digest(source) == hashlib.sha256(bytes([1, 2, 3, 4, 2, 1, 0, 0, 7, 0, 0, 0])).hexdigest()


def test_images_other_than_the_published_ones_are_refused(monkeypatch):
    monkeypatch.setitem(tasks.DIGESTS, ("mnist28", "validation"), "0" * 64)
    with pytest.raises(ValueError, match="validation images of 'mnist28'.*" + "0" * 64):
        load_task("mnist28")


def test_image_of_a_fixed_split_depends_on_seed_split_and_place_only():
    source = _source()
    made = fixed_split(source, SMALL, "test")
    for number, split in enumerate(("train", "validation", "test")):
        key = jax.random.fold_in(jax.random.key(SMALL.seed, impl="threefry2x32"), number)
        made = fixed_split(source, SMALL, split)
        for i in (0, 255, 256, 299):  # at the ends of the chunks
            image, label = SMALL.recipe.draw_of(jax.random.fold_in(key, i), i, source)
            np.testing.assert_array_equal(made.images[i], image)
            assert made.labels[i] == label == source.labels[i]


def test_without_distractors_a_fixed_split_does_not_depend_on_its_length():
    task = Task("plain", Canvas(12, 14), "for these tests", 5)
    source = _source()
    few = jax.tree.map(lambda leaf: leaf[:7], source)
    np.testing.assert_array_equal(fixed_split(few, task, "test").images, fixed_split(source, task, "test").images[:7])


def test_splits_and_seeds_differ():
    source = _source(50)
    made = [
        fixed_split(source, SMALL, "test"),
        fixed_split(source, SMALL, "validation"),
        fixed_split(source, Task("other", SMALL.recipe, "", 6), "test"),
    ]
    assert len({digest(one) for one in made}) == 3
    assert digest(fixed_split(source, SMALL, "test")) == digest(made[0])


def test_distractors_come_from_the_same_split(tmp_path):
    arrays = {}
    colours = {"train": 50, "validation": 100, "test": 150}
    for split, colour in colours.items():
        arrays[f"{split}_images"] = np.full((20, 10, 10), colour, np.uint8)
        arrays[f"{split}_labels"] = np.arange(20) % 2
    np.savez(tmp_path / "colours.npz", **arrays)
    data = load_task("cluttered60", data=str(tmp_path / "colours.npz"))
    batch, _ = sample_batch(KEY, data.train, data.recipe, 64)
    for split, images in (
        ("train", batch),
        ("validation", data.validation.images),
        ("test", data.test.images),
    ):
        assert set(np.unique(images).tolist()) == {0, colours[split]}


@pytest.mark.parametrize("recipe", [SMALL.recipe, Plain()])
def test_batch_is_a_function_of_the_key(recipe):
    source = _source()
    draw = functools.partial(sample_batch, train=source, recipe=recipe, batch_size=32)
    images, labels = draw(KEY)
    assert images.shape == (32, *((6, 6) if recipe == Plain() else (12, 14)), 1)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    jitted = jax.jit(sample_batch, static_argnames=("recipe", "batch_size"))(KEY, source, recipe, 32)
    np.testing.assert_array_equal(images, jitted[0])
    np.testing.assert_array_equal(labels, jitted[1])
    assert (np.asarray(draw(jax.random.key(4))[0]) != np.asarray(images)).any()


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """A recipe of one's own: each image beside its mirror image, labelled with a sequence."""

    end: int

    def check(self, source):
        check_source(source)

    def name_classes(self, class_names):
        return (*class_names, "end")

    def draw(self, key, source):
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key, index, source):
        image = jnp.asarray(source.images)[index]
        label = label_of(index, source)
        return jnp.concatenate([image, image[:, ::-1]], axis=-1), jnp.stack([label, label, jnp.int32(self.end)])


def test_a_recipe_decides_on_shapes_labels_and_names(monkeypatch, tmp_path):
    monkeypatch.setitem(TASKS, "mirrored", Task("mirrored", Mirrored(4), "for these tests", 5))
    source = _source(60)
    np.savez(tmp_path / "own.npz", images=source.images, labels=source.labels)
    data = load_task("mirrored", data=tmp_path / "own.npz")
    assert isinstance(data.recipe, Recipe) and sample_shapes(data.recipe, source) == ((6, 6, 2), (3,))
    assert (data.height, data.width, data.channels) == (6, 6, 2)
    assert data.class_names == ("0", "1", "2", "3", "end") and data.num_classes == 5 and data.num_targets == 3
    images, labels = sample_batch(KEY, data.train, data.recipe, 8)
    assert images.shape == (8, 6, 6, 2) and labels.shape == (8, 3)
    for seen, targets in ((images, labels), data.validation):
        np.testing.assert_array_equal(seen[..., 1], seen[:, :, ::-1, 0])
        np.testing.assert_array_equal(targets[:, 0], targets[:, 1])
        assert targets.dtype == np.int32 and (np.asarray(targets[:, 2]) == 4).all()


def test_a_task_of_single_classes_has_no_number_of_targets(cluttered60):
    assert cluttered60.num_targets is None


def test_batch_draws_images_uniformly():
    count = 50
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    source = Source(images, np.arange(count, dtype=np.int32))
    drawn, labels = sample_batch(KEY, source, Plain(), 20_000)
    np.testing.assert_array_equal(np.asarray(drawn).ravel(), labels)
    assert stats.chisquare(np.bincount(labels, minlength=count)).pvalue > 1e-4


def test_augmented_batch_is_that_of_its_own_key_augmented():
    source = _source()
    draw_key, shift_key = jax.random.split(KEY)
    images, labels = sample_batch(draw_key, source, SMALL.recipe, 16)
    moved, same = sample_batch(KEY, source, SMALL.recipe, 16, functools.partial(random_shift, pixels=2))
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(moved, random_shift(shift_key, images, 2))
    assert (moved != images).any()


def test_pool_is_an_argument_not_a_constant():
    source = jax.tree.map(jax.numpy.asarray, _source())
    program = jax.make_jaxpr(sample_batch, static_argnums=(2, 3))(KEY, source, SMALL.recipe, 4)
    assert all(np.size(constant) < 100 for constant in program.consts)


@pytest.mark.parametrize(
    ("call", "quoted"),
    [
        (
            lambda: load_task("clutered60"),
            r"unknown task 'clutered60': did you mean 'cluttered60'\? choose from mnist28",
        ),
        (lambda: find_task("?"), r"unknown task '\?': choose from mnist28, translated60"),
        (
            lambda: load_task("images"),
            r"'images' needs data \(--data\): it must be a folder with a subfolder for each class, or a .npz file",
        ),
        (
            lambda: load_task("mnist28", resize=64),
            r"^resize 64 \(--resize\) is for your own images only, so give data \(--data\) too",
        ),
        (lambda: load_task("mnist28", grayscale=True), "^grayscale True is for your own images only, so give data"),
        (
            lambda: load_task("mnist28", data="/nowhere/at-all"),
            "'/nowhere/at-all'; data must be a folder with a subfolder for each class, or a .npz file",
        ),
        (lambda: fixed_split(_source(3), SMALL, "dev"), "unknown split 'dev': choose from train, validation, test"),
        (lambda: fixed_split(_source(3, size=13), SMALL, "test"), "13x13 pixels; at most 12x14"),
        (lambda: sample_batch(KEY, _source(3, size=2), SMALL.recipe, 4), "3x3 pixels; at most 2x2"),
    ],
)
def test_mistakes_are_quoted(call, quoted):
    with pytest.raises(ValueError, match=quoted):
        call()
