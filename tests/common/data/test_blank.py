"""Blank data sets have the shapes of the real ones."""

import numpy as np
import pytest

from common.data import TASKS, Dataset, blank_task, load_task

# Side, channels, number of classes, symbols of a label.
SHAPES = {
    "mnist28": (28, 1, 10, None),
    "translated60": (60, 1, 10, None),
    "cluttered60": (60, 1, 10, None),
    "cluttered100": (100, 1, 10, None),
    "augmented100": (100, 1, 10, None),
    "pairs100": (100, 1, 55, None),
    "pairs100_sequence": (100, 1, 11, 3),
    "addition100": (100, 1, 19, None),
    "distorted/R": (28, 1, 10, None),
    "distorted/RTS": (42, 1, 10, None),
    "distorted/P": (28, 1, 10, None),
    "distorted/E": (28, 1, 10, None),
    "tc60": (60, 1, 10, None),
    "two_channel_addition42": (42, 2, 19, None),
    "T84": (84, 1, 10, None),
    "TC84": (84, 1, 10, None),
    "house_numbers": (54, 3, 11, 6),
    "house_numbers_110": (110, 3, 11, 6),
    "house_numbers_new_fonts": (54, 3, 11, 6),
    "svhn_numbers": (54, 3, 11, 6),
    "svhn_numbers_110": (110, 3, 11, 6),
    "svhn_numbers_32": (32, 1, 11, 5),
}


def shapes(dataset: Dataset):
    assert dataset.height == dataset.width
    return dataset.height, dataset.channels, dataset.num_classes, dataset.num_targets


@pytest.mark.parametrize("name", SHAPES)
def test_blank_data_set_has_the_shapes_of_its_task(name):
    dataset = blank_task(name)
    assert shapes(dataset) == SHAPES[name] and dataset.name == name
    for split in (dataset.train, dataset.validation, dataset.test):
        assert len(split.images) == len(split.labels) == 1 and not np.asarray(split.images).any()


def test_every_task_is_covered():
    assert set(SHAPES) == set(TASKS) - {"images"}


def test_resized_house_numbers_have_the_shapes_of_real_ones(tmp_path):
    options = {"resize": 12, "grayscale": True}
    real = load_task("house_numbers", num_images=(2, 2, 2), cache_dir=tmp_path, **options)
    blank = blank_task("house_numbers", **options)
    assert shapes(blank) == shapes(real) == (12, 1, 11, 6)
    assert blank.recipe == real.recipe and blank.class_names == real.class_names


def test_own_images_cannot_be_blank():
    with pytest.raises(ValueError, match="'images' has the shapes of your own images"):
        blank_task("images")
