"""Arrays kept in a file: written at once or not at all, and read back only if they are what was written."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

_DIGEST = "digest"


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "..."]] | None:
    """Reads what `write_arrays` wrote: arrays of any shape by name; None if there is no file or it is damaged."""
    if not Path(path).is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # What NumPy raises depends on which byte is damaged.
        return None
    expected = arrays.pop(_DIGEST, None)
    return arrays if expected is not None and str(expected) == digest_arrays(arrays) else None


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Writes arrays of any shape beside the file's place, then moves them there: nobody ever sees half of them.

    Args:
        path: the file; its folder is made if it is missing.
        arrays: the arrays by name.

    Raises:
        OSError: if the folder or the file cannot be written; names it.
    """
    place = Path(path)
    make_folder(place.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=place.stem, suffix=".part", delete=False) as file:
            try:
                digest = np.array(digest_arrays(arrays))
                np.savez(file, allow_pickle=False, **{**arrays, _DIGEST: digest})
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, place)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise OSError(f"the file {str(place)!r} cannot be written: {error}") from error


def make_folder(folder: Path) -> None:
    """Makes a folder for such files, if it is missing.

    Raises:
        OSError: if it cannot be made or written; names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the folder {str(folder)!r} cannot be made: {error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {str(folder)!r} cannot be written")


def digest_arrays(arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> str:
    """SHA-256, in hexadecimal, of names, types, shapes and contents (in C order) of arrays of any shape."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()
