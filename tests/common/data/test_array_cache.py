"""Arrays kept in a file: the same, or none."""

import numpy as np
import pytest

from common.data.array_cache import digest_arrays, read_arrays, write_arrays

ARRAYS = {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "labels": np.array([[1, 2], [3, 4]], np.int32)}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a" / "arrays.npz"
    write_arrays(path, ARRAYS)
    found = read_arrays(path)
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert [one.name for one in path.parent.iterdir()] == ["arrays.npz"]


def test_nothing_there_is_nothing(tmp_path):
    assert read_arrays(tmp_path / "absent.npz") is None
    np.savez(tmp_path / "other.npz", **ARRAYS)  # Without a digest.
    assert read_arrays(tmp_path / "other.npz") is None


@pytest.mark.parametrize("where", [0.05, 0.3, 0.6, 0.95])
def test_a_changed_byte_is_seen(tmp_path, where):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"images": np.zeros(10_000, np.uint8)})
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    assert read_arrays(path) is None


def test_a_file_with_any_byte_changed_is_as_good_as_none(tmp_path):
    """Also those that say how to read the rest; few are of no consequence."""
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.arange(3)})
    content, kept = path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        found = read_arrays(path)
        assert found is None or np.array_equal(found["a"], [0, 1, 2])
        kept += found is not None
    assert kept < len(content) / 4


def test_the_digest_is_of_names_types_shapes_and_contents():
    array = np.arange(6, dtype=np.int32)
    others = [
        {"a": array},
        {"b": array},
        {"a": array.astype(np.int64)},
        {"a": array.reshape(2, 3)},
        {"a": array[::-1]},
        {"a": array, "b": array},
    ]
    assert len({digest_arrays(other) for other in others}) == len(others)
    assert digest_arrays({"a": array[::2]}) == digest_arrays({"a": array[::2].copy()})
