"""MNIST: the arrays are the published ones, and a damaged file is refused."""

import hashlib
import struct

import numpy as np
import pytest

from common.data.mnist import MNIST_PATH, MNIST_SHA256, load_mnist


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


def _idx_md5(array):
    """Return the MD5 of an array as an IDX file: magic number, big-endian shape, bytes."""
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return hashlib.md5(header + array.astype(np.uint8).tobytes()).hexdigest()


def test_arrays_are_those_of_the_original_idx_files(mnist):
    images = np.concatenate([mnist["train"].images, mnist["validation"].images])[..., 0]
    labels = np.concatenate([mnist["train"].labels, mnist["validation"].labels])
    assert _idx_md5(images) == "6bbc9ace898e44ae57da46a324031adb"
    assert _idx_md5(labels) == "a25bea736e30d166cdddb491f175f624"
    assert _idx_md5(mnist["test"].images[..., 0]) == "2646ac647ad5339dbf082846283269ea"
    assert _idx_md5(mnist["test"].labels) == "27ae3e4e09519cfbb04c329615203637"


@pytest.mark.parametrize(("split", "count"), [("train", 54_000), ("validation", 6_000), ("test", 10_000)])
def test_splits_have_their_sizes(mnist, split, count):
    images, labels = mnist[split]
    assert images.shape == (count, 28, 28, 1) and images.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.int32
    assert set(labels.tolist()) == set(range(10))


def test_damaged_file_is_named_with_both_digests(tmp_path):
    content = bytearray(MNIST_PATH.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_mnist(path)
    for part in (str(path), MNIST_SHA256, hashlib.sha256(content).hexdigest()):
        assert part in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        load_mnist(tmp_path / "absent.npz")
