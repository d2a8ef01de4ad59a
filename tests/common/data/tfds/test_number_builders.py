"""Multi-digit numbers as TensorFlow Datasets: the same images, also downloaded and in several parts."""

import functools
import http.server
import sys
import threading

import numpy as np
import pytest

from common.data.house_numbers.pool import PoolConfig, render_pool
from common.data.svhn.dataset import SvhnConfig, load_svhn
from common.data.tasks import TASKS
from tests.common.data.svhn.svhn_maker import make_parts

COUNTS = (11, 3, 4)


@pytest.fixture(scope="module")
def builders():
    from common.data.tfds import number_builders

    return number_builders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("svhn"), {"train": 6, "extra": 5, "test": 4})


def test_house_numbers_are_those_of_the_pool(builders, tmp_path):
    builders.prepare_numbers("house_numbers", tmp_path, resize=14, num_images=COUNTS)
    seed = TASKS["house_numbers"].seed
    for split, count in zip(("train", "validation", "test"), COUNTS, strict=True):
        stored = builders.read_numbers("house_numbers", split, tmp_path, resize=14, num_images=COUNTS)
        pool = render_pool(PoolConfig(split, count, 17, seed=seed))
        np.testing.assert_array_equal(stored.images, pool.images)
        np.testing.assert_array_equal(stored.labels, pool.labels)


@pytest.mark.parametrize("task", ["svhn_numbers", "svhn_numbers_32"])
def test_svhn_from_a_folder_in_parts(builders, folder, tmp_path, monkeypatch, task):
    numbers = TASKS[task].numbers
    config = SvhnConfig(numbers.size, numbers.growth, numbers.grayscale, numbers.num_symbols)
    expected = load_svhn(folder, config, seed=TASKS[task].seed)
    # Four images fit in a part.
    monkeypatch.setattr(builders, "_PART_BYTES", 4 * expected["train"].images[0].nbytes + 1)
    builder = builders.prepare_numbers(task, tmp_path, svhn=folder)
    assert set(builder.info.splits) == {"train_0", "train_1", "train_2", "validation", "test"}
    for split, source in expected.items():
        stored = builders.read_numbers(task, split, tmp_path)
        np.testing.assert_array_equal(stored.images, source.images)
        np.testing.assert_array_equal(stored.labels, source.labels)


def test_svhn_is_downloaded(builders, folder, tmp_path, monkeypatch):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(builders, "ADDRESS", f"http://127.0.0.1:{server.server_port}/")
        builders.prepare_numbers("svhn_numbers", tmp_path, resize=27)
        server.shutdown()
    stored = builders.read_numbers("svhn_numbers", "test", tmp_path, resize=27)
    expected = load_svhn(folder, SvhnConfig(32), seed=TASKS["svhn_numbers"].seed)["test"]
    np.testing.assert_array_equal(stored.images, expected.images)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, path: b.prepare_numbers("mnist28", path), "numbers 'mnist28': choose from house"),
        (lambda b, path: b.prepare_numbers("svhn_number", path), "did you mean 'svhn_numbers'"),
        (lambda b, path: b.prepare_numbers("svhn_numbers", path, svhn=path / "no"), "no' .* holds no train.tar.gz"),
        (lambda b, path: b.read_numbers("house_numbers", "test", path), "'house_numbers' is not prepared in"),
    ],
)
def test_errors_quote_the_value(builders, tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(builders, tmp_path)
