"""A cache of arrays in files: written atomically, and read only if their digest matches."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import Shaped

# The environment variable that overrides the user's cache folder.
CACHE_VARIABLE = "HARD_ATTENTION_CACHE"
_DIGEST = "digest"


def user_cache_dir() -> Path:
    """Return the folder for rendered house numbers, what is read from SVHN, and compiled programs.

    It is `hard-attention` in the cache folder of the user (`~/.cache` on Linux), or the value of the environment
    variable HARD_ATTENTION_CACHE.
    """
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("hard-attention", appauthor=False))


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "..."]] | None:
    """Read the arrays that `write_arrays` wrote, by name; return None if the file is missing or damaged."""
    if not Path(path).is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # NumPy's exception depends on which byte is damaged.
        return None
    expected = arrays.pop(_DIGEST, None)
    return arrays if expected is not None and str(expected) == digest_arrays(arrays) else None


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Write arrays to a temporary file and move it to its path, so that no reader sees an incomplete file.

    Args:
        path: the file; its folder is created if it is missing.
        arrays: arrays of any shape by name.

    Raises:
        OSError: the folder or the file cannot be written; the message names it.
    """
    target = Path(path)
    make_folder(target.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.stem, suffix=".part", delete=False) as file:
            try:
                digest = np.array(digest_arrays(arrays))
                np.savez(file, allow_pickle=False, **{**arrays, _DIGEST: digest})
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise OSError(f"the file {str(target)!r} cannot be written: {error}") from error


def make_folder(folder: Path) -> None:
    """Create a folder if it is missing, and check that files can be written in it.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {str(folder)!r} is not writable")


def digest_arrays(arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> str:
    """Return the SHA-256, in hexadecimal, of the names, types, shapes and contents (in C order) of arrays."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()
