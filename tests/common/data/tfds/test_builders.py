"""TensorFlow Datasets hold the same images, and do not import TensorFlow."""

import importlib.util
import sys

import numpy as np
import pytest

from common.data.digests import DIGESTS, digest
from common.data.mnist import load_mnist
from common.data.sampling import fixed_split
from common.data.source import Source
from common.data.tasks import TASKS


@pytest.fixture(scope="module")
def builders():
    from common.data.tfds import builders

    return builders


@pytest.fixture(scope="module", autouse=True)
def mnist(builders):
    """MNIST with the first 200 digits of each split, for the builders too."""
    few = {name: Source(*(array[:200] for array in split)) for name, split in load_mnist().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "load_mnist", lambda: dict(few))
        yield few


@pytest.fixture(scope="module")
def prepared(builders, mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for task in ("cluttered60", "mnist28", "pairs100_sequence"):
        builders.prepare(task, folder)
    return folder


def check_same(stored, expected):
    for actual, array in zip(stored, expected, strict=True):
        np.testing.assert_array_equal(actual, array)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cluttered60", "mnist28", "pairs100_sequence"])
def test_prepared_splits_are_the_published_ones(builders, monkeypatch, tmp_path, task):
    monkeypatch.setattr(builders, "load_mnist", load_mnist)
    builders.prepare(task, tmp_path)
    for split in ("validation", "test"):
        assert digest(builders.read_split(task, split, tmp_path)) == DIGESTS[task, split]


@pytest.mark.parametrize("task", ["cluttered60", "mnist28", "pairs100_sequence"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_prepared_split_is_the_fixed_one(builders, mnist, prepared, task, split):
    check_same(builders.read_split(task, split, prepared), fixed_split(mnist[split], TASKS[task], split))


def test_training_digits_are_those_of_mnist(builders, mnist, prepared):
    check_same(builders.read_split("mnist28", "train", prepared), mnist["train"])


@pytest.mark.parametrize("task", ["two_channel_addition42", "TC84"])
def test_first_examples_are_stored_alone(builders, mnist, tmp_path, task):
    builders.prepare(task, tmp_path, num_examples=20)
    expected = fixed_split(mnist["validation"], TASKS[task], "validation")
    stored = builders.read_split(task, "validation", tmp_path, num_examples=20)
    check_same(stored, (expected.images[:20], expected.labels[:20]))


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_works_without_tensorflow(builders, prepared):
    assert builders.read_split("cluttered60", "test", prepared).images.any()
    assert "tensorflow" not in sys.modules


def test_label_names_of_pairs_and_sums(builders):
    features = builders.make_config("pairs100"), builders.make_config("addition100")
    names = [builders.AttentionMnist(config=config.name).info.features["label"].names for config in features]
    assert (
        len(names[0]) == 55 and names[0][:12:11] == ["0 0", "1 2"] and names[1] == [str(total) for total in range(19)]
    )


def test_task_with_a_slash_in_its_name(builders, tmp_path):
    builders.prepare("distorted/E", tmp_path, num_examples=3)
    stored = builders.read_split("distorted/E", "test", tmp_path, num_examples=3)
    assert stored.images.shape == (3, 28, 28, 1)
    assert builders.make_config("distorted/E").name == "distorted_E"


def test_builder_is_found_by_name(builders, mnist, prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder("attention_mnist/cluttered60", data_dir=prepared, file_format="array_record")
    example = builder.as_data_source("test")[0]
    assert set(example) == {"image", "label", "index"}
    assert example["label"] == mnist["test"].labels[example["index"]]
    assert set(builders.AttentionMnist.builder_configs) == {name.replace("/", "_") for name, _ in DIGESTS}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, folder: b.prepare("clutered60", folder), "'clutered60': did you mean 'cluttered60'"),
        (lambda b, folder: b.prepare("images", folder), "unknown MNIST task 'images': choose from mnist28"),
        (lambda b, folder: b.read_split("translated60", "test", folder), "'translated60' is not prepared"),
        (lambda b, folder: b.read_split("cluttered60", "train", folder), "Unknown split 'train'"),
    ],
)
def test_errors_quote_the_value(builders, prepared, call, message):
    with pytest.raises(ValueError, match=message):
        call(builders, prepared)
