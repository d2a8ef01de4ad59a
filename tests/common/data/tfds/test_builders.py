"""TensorFlow Datasets hold the same images, and do not import TensorFlow."""

import importlib.util
import sys

import numpy as np
import pytest

from common.data.digests import DIGESTS, digest
from common.data.mnist import load_mnist
from common.data.sampling import fixed_split
from common.data.tasks import TASKS


@pytest.fixture(scope="module")
def builders():
    from common.data.tfds import builders

    return builders


@pytest.fixture(scope="module")
def prepared(builders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builders.prepare("cluttered60", folder)
    builders.prepare("mnist28", folder)
    builders.prepare("pairs100_sequence", folder)
    return folder


@pytest.mark.parametrize("task", ["cluttered60", "mnist28", "pairs100_sequence"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_prepared_split_is_the_published_one(builders, prepared, task, split):
    assert digest(builders.read_split(task, split, prepared)) == DIGESTS[task, split]


def test_training_digits_are_those_of_mnist(builders, prepared):
    stored, expected = builders.read_split("mnist28", "train", prepared), load_mnist()["train"]
    np.testing.assert_array_equal(stored.images, expected.images)
    np.testing.assert_array_equal(stored.labels, expected.labels)


@pytest.mark.parametrize("task", ["augmented100", "distorted/P", "two_channel_addition42", "TC84"])
def test_first_examples_are_stored_alone(builders, tmp_path, task):
    builders.prepare(task, tmp_path, num_examples=20)
    stored = builders.read_split(task, "validation", tmp_path, num_examples=20)
    expected = fixed_split(load_mnist()["validation"], TASKS[task], "validation")
    np.testing.assert_array_equal(stored.images, expected.images[:20])
    np.testing.assert_array_equal(stored.labels, expected.labels[:20])


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


def test_builder_is_found_by_name(builders, prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder("attention_mnist/cluttered60", data_dir=prepared, file_format="array_record")
    example = builder.as_data_source("test")[0]
    assert set(example) == {"image", "label", "index"}
    assert example["label"] == load_mnist()["test"].labels[example["index"]]
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
