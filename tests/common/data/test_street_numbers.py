"""Multi-digit numbers as tasks: crops of pools, in colour and gray, at any size."""

import jax
import numpy as np
import pytest
from PIL import Image

from common.data.dataset import load_task
from common.data.house_numbers.pool import PoolConfig, render_pool
from common.data.recipes.base import sample_shapes
from common.data.recipes.crops import Crop
from common.data.sampling import sample_batch
from common.data.source import Source
from common.data.street_numbers import Numbers, fit_crop, to_gray
from common.data.tasks import TASKS

KEY = jax.random.key(5)
COUNTS = (12, 4, 6)


def _source(count=30, side=9):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side + 1, 2), dtype=np.uint8)
    return Source(images, rng.integers(0, 11, (count, 3)).astype(np.int32))


def test_training_crops_are_uniform_over_positions():
    source = _source()
    crop = Crop(7, 7)
    assert sample_shapes(crop, source) == ((7, 7, 2), (3,))
    draw = jax.jit(sample_batch, static_argnames=("recipe", "batch_size"))
    images, labels = (np.asarray(leaf) for leaf in draw(KEY, source, crop, 2000))
    windows = np.lib.stride_tricks.sliding_window_view(source.images, (7, 7), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    positions = {windows[i, y, x].tobytes(): (i, y, x) for i in range(30) for y in range(3) for x in range(4)}
    drawn = [positions[image.tobytes()] for image in images]
    np.testing.assert_array_equal(source.labels[[i for i, _, _ in drawn]], labels)
    assert len(set(drawn)) > 330 and {y for _, y, _ in drawn} == {0, 1, 2} and {x for _, _, x in drawn} == {0, 1, 2, 3}


def test_fixed_crops_are_the_centre():
    source = _source()
    image, label = Crop(7, 7).draw_of(KEY, 4, source)
    np.testing.assert_array_equal(image, source.images[4, 1:8, 1:8])
    np.testing.assert_array_equal(label, source.labels[4])
    assert label.dtype == np.int32


def test_house_numbers_are_loaded_at_a_small_size(tmp_path):
    reports = []
    options = {"resize": 27, "num_images": COUNTS, "cache_dir": tmp_path}
    data = load_task("house_numbers", **options, progress=lambda *args: reports.append(args))
    assert (data.height, data.width, data.channels) == (27, 27, 3) and data.recipe == Crop(27, 27)
    assert data.num_classes == 11 and data.num_targets == 6 and data.class_names == (*"0123456789", "end")
    assert reports == [("train", 12, 12), ("validation", 4, 4), ("test", 6, 6)]
    assert data.train.images.shape == (12, 32, 32, 3) and isinstance(data.train.images, jax.Array)
    pool = render_pool(PoolConfig("test", 6, 32, seed=TASKS["house_numbers"].seed))
    np.testing.assert_array_equal(data.test.images, pool.images[:, 2:29, 2:29])
    np.testing.assert_array_equal(data.test.labels, pool.labels)
    gray = load_task("house_numbers", **options, grayscale=True)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in data.test.images])
    np.testing.assert_array_equal(gray.test.images[..., 0], expected)
    new = load_task("house_numbers_new_fonts", **options)
    np.testing.assert_array_equal(new.train.images, data.train.images)
    assert (new.test.images != data.test.images).any()


@pytest.mark.parametrize(("name", "side", "pool"), [("house_numbers", 54, 64), ("house_numbers_110", 110, 128)])
def test_published_sizes(name, side, pool):
    task = TASKS[name]
    assert fit_crop(task.recipe, task.numbers, None) == (Crop(side, side), pool)
    assert fit_crop(task.recipe, task.numbers, side // 2) == (Crop(side // 2, side // 2), pool // 2)
    assert task.numbers.growth == {54: 1.3, 110: 2.6}[side]


def test_one_training_image_is_rendered_if_none_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr("common.data.street_numbers.NUM_IMAGES", (9, 3, 2))
    for num_images, rest in ((None, [3, 2]), (COUNTS, [*COUNTS[1:]])):
        data = load_task("house_numbers", resize=10, num_images=num_images, cache_dir=tmp_path, train=False)
        assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [1, *rest]


def test_crops_of_svhn_have_at_most_512_pixels():
    assert fit_crop(Crop(54, 54), Numbers(svhn=True), 512) == (Crop(512, 512), 607)


def test_gray_is_the_luma_of_pillow():
    images = np.random.default_rng(0).integers(0, 256, (1003, 5, 4, 3), dtype=np.uint8)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    np.testing.assert_array_equal(to_gray(images)[..., 0], expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: load_task("house_numbers", data="folder"),
            r"^data 'folder' \(--data\): task 'house_numbers' is rendered",
        ),
        (
            lambda: load_task("house_numbers", resize=(20, 30)),
            r"^resize \(20, 30\) \(--resize\): house numbers are square, so give one number$",
        ),
        (
            lambda: load_task("house_numbers", resize=120, num_images=COUNTS),
            r"^resize 120 \(--resize\): must be SIDE or HxW .*; each side from 7 to 108$",
        ),
        (lambda: fit_crop(Crop(110, 110), Numbers(size=128), 111), "each side from 7 to 110$"),
        (lambda: Crop(10, 5).check(_source()), "^images of 9x10 pixels: a crop needs at least 10x5$"),
        (lambda: fit_crop(Crop(54, 54), Numbers(), 0), "^resize 0 "),
        (lambda: load_task("house_numbers", resize="20x30"), "house numbers are square"),
        (
            lambda: load_task("svhn_numbers", data="absent", resize=513),
            "^resize 513 .*; each side from 1 to 512$",
        ),
    ],
)
def test_errors_quote_the_value(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        call()
