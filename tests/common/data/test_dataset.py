"""Data sets: loaded tasks, and the options of loading."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.blank import blank_task
from common.data.dataset import load_task
from common.data.mnist import load_mnist
from common.data.recipes.base import Plain, Recipe, check_source, draw_any, label_of, sample_shapes
from common.data.sampling import sample_batch
from common.data.source import LabelledSplits, Source
from common.data.tasks import TASKS, Task

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def cluttered60():
    return load_task("cluttered60")


def test_dataset_holds_the_images_of_its_task(cluttered60):
    data, mnist = cluttered60, load_mnist()
    assert (data.height, data.width, data.channels, data.num_classes) == (60, 60, 1, 10)
    assert data.class_names == tuple("0123456789") and data.recipe == TASKS["cluttered60"].recipe
    assert isinstance(data.train.images, jax.Array) and data.train.labels.dtype == np.int32
    np.testing.assert_array_equal(data.train.images, mnist["train"].images)
    # A canvas has the ink of its digit, and at most the ink of four distractors more.
    ink = data.test.images.astype(int).sum(axis=(1, 2, 3)) - mnist["test"].images.astype(int).sum(axis=(1, 2, 3))
    assert ink.min() >= 0 and ink.max() <= 4 * 64 * 255 and ink.mean() > 0


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


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """A custom recipe: each image and its mirror image as two channels, labelled with a sequence."""

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


def test_custom_recipe_decides_on_shapes_labels_and_names(monkeypatch, tmp_path):
    monkeypatch.setitem(TASKS, "mirrored", Task("mirrored", Mirrored(4), "for these tests", 5))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 6, 1), dtype=np.uint8)
    source = Source(images, rng.integers(0, 4, 60).astype(np.int32))
    np.savez(tmp_path / "own.npz", images=source.images, labels=source.labels)
    data = load_task("mirrored", data=tmp_path / "own.npz")
    assert isinstance(data.recipe, Recipe) and sample_shapes(data.recipe, source) == ((6, 6, 2), (3,))
    assert (data.height, data.width, data.channels) == (6, 6, 2)
    assert data.class_names == ("0", "1", "2", "3", "end") and data.num_classes == 5 and data.num_targets == 3
    images, labels = sample_batch(KEY, data.train, data.recipe, 8)
    assert images.shape == (8, 6, 6, 2) and labels.shape == (8, 3)
    for drawn, targets in ((images, labels), data.validation):
        np.testing.assert_array_equal(drawn[..., 1], drawn[:, :, ::-1, 0])
        np.testing.assert_array_equal(targets[:, 0], targets[:, 1])
        assert targets.dtype == np.int32 and (np.asarray(targets[:, 2]) == 4).all()


def test_task_with_one_class_for_each_image_has_no_number_of_targets(cluttered60):
    assert cluttered60.num_targets is None


def test_task_with_a_source_loads_its_images(monkeypatch):
    source = Source(np.zeros((9, 6, 7, 1), np.uint8), np.arange(9, dtype=np.int32) % 2)
    splits = LabelledSplits(dict.fromkeys(("train", "validation", "test"), source), ("cat", "dog"))
    monkeypatch.setitem(TASKS, "pets", Task("pets", Plain(), "for these tests", 5, source=lambda: splits))
    for dataset in (load_task("pets"), blank_task("pets")):
        assert dataset.image_shape == (6, 7, 1) and dataset.class_names == ("cat", "dog")


IMAGE, LABEL = jnp.zeros((6, 7, 1), jnp.uint8), jnp.int32(1)
SAMPLE = "must return an image uint8 [H, W, C] and a label of whole numbers, [] or [S]"
CLASSES = "must return the names of the classes, a tuple of texts"


@dataclasses.dataclass(frozen=True, eq=False)
class Wrong:
    """A recipe one of whose functions returns something else than it must."""

    returned: dict

    def check(self, source):
        check_source(source)

    def draw(self, key, source):
        return self.returned.get("draw", (IMAGE, LABEL))

    def draw_of(self, key, index, source):
        return self.returned.get("draw_of", (IMAGE, LABEL))

    def name_classes(self, class_names):
        return self.returned.get("name_classes", class_names)


def _splits(**changes):
    images, labels = np.zeros((9, 6, 7, 1), np.uint8), np.arange(9, dtype=np.int32) % 2
    source = Source(changes.get("images", images), changes.get("labels", labels))
    splits = {"train": source, "validation": Source(images, labels), "test": source}
    return LabelledSplits(splits, changes.get("class_names", ("cat", "dog")))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("draw_of", None, "the draw_of of the recipe Wrong returned None: must return the pair (image, label)"),
        ("draw_of", (IMAGE[..., 0], LABEL), f"recipe Wrong returned (uint8[6, 7], int32[]): {SAMPLE}"),
        ("draw_of", (IMAGE / 255, LABEL), f"recipe Wrong returned (float32[6, 7, 1], int32[]): {SAMPLE}"),
        ("draw_of", (IMAGE, 1.0 * LABEL), f"recipe Wrong returned (uint8[6, 7, 1], float32[]): {SAMPLE}"),
        ("draw_of", (IMAGE, LABEL[None, None]), f"recipe Wrong returned (uint8[6, 7, 1], int32[1, 1]): {SAMPLE}"),
        ("draw_of", (IMAGE, "cat"), f"recipe Wrong returned (uint8[6, 7, 1], str): {SAMPLE}"),
        ("draw", (IMAGE[..., 0], LABEL), f"the draw of the recipe Wrong returned (uint8[6, 7], int32[]): {SAMPLE}"),
        (
            "draw",
            (IMAGE[1:], LABEL),
            "the draw of the recipe Wrong returned (uint8[5, 7, 1], int32[]), and draw_of (uint8[6, 7, 1], int32[]): "
            "must return the same shapes",
        ),
        ("name_classes", ["cat", "dog"], f"the name_classes of the recipe Wrong returned ['cat', 'dog']: {CLASSES}"),
        ("name_classes", None, f"the name_classes of the recipe Wrong returned None: {CLASSES}"),
        (
            "draw_of",
            (IMAGE, LABEL + 1),
            "the recipe Wrong, validation: image 0 has the label 2: must be from 0 to 1, the indices of the 2 class "
            "names",
        ),
        ("draw_of", (IMAGE, LABEL - 2), "the recipe Wrong, validation: image 0 has the label -1: must be from 0 to 1"),
    ],
)
def test_a_recipe_that_returns_something_wrong_is_refused(unchecked, monkeypatch, name, value, message):
    monkeypatch.setitem(TASKS, "wrong", Task("wrong", Wrong({name: value}), "for these tests", 5, source=_splits))
    with pytest.raises(ValueError) as error:
        load_task("wrong")
    assert message in str(error.value) and "\n" not in str(error.value)
    if "has the label" not in message:
        with pytest.raises(ValueError) as error:
            blank_task("wrong")
        assert message in str(error.value)


SPLITS_OF = "images uint8 [N, h, w, C], of one size in all splits, with labels of whole numbers"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (None, "the source own returned None: must return LabelledSplits with the sources train, validation, test"),
        (LabelledSplits({}, ("cat", "dog")), "must return LabelledSplits with the sources train, validation, test"),
        (_splits(images=np.zeros((9, 6, 7, 1))), f"train: Source(images=float64[9, 6, 7, 1], .*{SPLITS_OF}"),
        (_splits(images=np.zeros((9, 6, 7), np.uint8)), SPLITS_OF),
        (_splits(images=np.zeros((9, 8, 7, 1), np.uint8)), SPLITS_OF),
        (_splits(labels=np.zeros(9)), SPLITS_OF),
        (_splits(labels=np.zeros(8, int)), "the source own, train: images of shape (9, 6, 7, 1) with labels of shape"),
        (_splits(labels=np.arange(9)), "the source own, train: image 8 has the label 8: must be from 0 to 1"),
        (_splits(class_names=("cat",)), "the source own, train: image 1 has the label 1: must be from 0 to 0"),
    ],
)
def test_a_source_that_returns_something_wrong_is_refused(unchecked, monkeypatch, splits, message):
    def own():
        return splits

    monkeypatch.setitem(TASKS, "wrong", Task("wrong", Plain(), "for these tests", 5, source=own))
    for load in (load_task, blank_task):
        with pytest.raises(ValueError) as error:
            load("wrong")
        assert all(part in str(error.value) for part in message.split(".*")) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: load_task("images"),
            r"'images' needs data \(--data\): it must be a folder with a subfolder for each class, or a .npz file",
        ),
        (lambda: load_task("mnist28", resize=64), r"^resize 64 \(--resize\): only for house numbers and for your own"),
        (lambda: load_task("mnist28", grayscale=True), r"^grayscale True: only for house numbers and for your own"),
        (
            lambda: load_task("mnist28", num_images=(5, 5, 5)),
            r"^num_images \(5, 5, 5\): only for rendered house numbers",
        ),
        (
            lambda: load_task("mnist28", data="/nowhere/at-all"),
            "'/nowhere/at-all'; data must be a folder with a subfolder for each class, or a .npz file",
        ),
    ],
)
def test_errors_quote_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
