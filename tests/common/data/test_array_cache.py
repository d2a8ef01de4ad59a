"""Cached arrays: read as written, or not at all."""

from pathlib import Path

import numpy as np
import platformdirs
import pytest

from common.data.array_cache import digest_arrays, read_arrays, user_cache_dir, write_arrays

ARRAYS = {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "labels": np.array([[1, 2], [3, 4]], np.int32)}


def test_arrays_are_read_as_written(tmp_path):
    path = tmp_path / "a" / "arrays.npz"
    write_arrays(path, ARRAYS)
    loaded = read_arrays(path)
    assert set(loaded) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    assert [file.name for file in path.parent.iterdir()] == ["arrays.npz"]


def test_missing_file_and_file_without_digest_give_none(tmp_path):
    assert read_arrays(tmp_path / "absent.npz") is None
    np.savez(tmp_path / "other.npz", **ARRAYS)  # Without a digest.
    assert read_arrays(tmp_path / "other.npz") is None


@pytest.mark.parametrize("position", [0.05, 0.3, 0.6, 0.95])
def test_changed_byte_is_detected(tmp_path, position):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"images": np.zeros(10_000, np.uint8)})
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    assert read_arrays(path) is None


def test_no_changed_byte_gives_other_arrays(tmp_path):
    """Includes the bytes of headers; few of them do not matter."""
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.arange(3)})
    content, unaffected = path.read_bytes(), 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :])
        loaded = read_arrays(path)
        assert loaded is None or np.array_equal(loaded["a"], [0, 1, 2])
        unaffected += loaded is not None
    assert unaffected < len(content) / 4


def test_digest_depends_on_names_types_shapes_and_contents():
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


def test_cache_is_the_folder_of_the_user_or_of_the_environment_variable(monkeypatch):
    monkeypatch.setenv("HARD_ATTENTION_CACHE", "elsewhere")
    assert user_cache_dir() == Path("elsewhere")
    monkeypatch.delenv("HARD_ATTENTION_CACHE")
    assert user_cache_dir() == platformdirs.user_cache_path("hard-attention", appauthor=False)
    assert user_cache_dir().name == "hard-attention"
