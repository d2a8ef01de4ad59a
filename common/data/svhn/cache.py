"""The cache of SVHN: file names, and the records of a part, which take minutes to read."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from common.data.array_cache import make_folder, read_arrays, write_arrays
from common.data.svhn.files import Part
from common.data.svhn.records import Record

# Version of the cached content: raise it whenever that changes.
_VERSION = 3


def cache_path(cache_dir: str | os.PathLike[str], stem: str, parts: Sequence[Part], facts: Any = None) -> Path:
    """Return the cache file of something that is made from parts of SVHN.

    Args:
        cache_dir: the folder.
        stem: the beginning of the file name.
        parts: the parts that it is made from, identified by path, size and modification time.
        facts: everything else that it depends on, as JSON.

    Returns:
        The path; the file may not exist.
    """
    known = []
    for part in parts:
        files = [part.path, *([part.path / "digitStruct.mat"] if part.path.is_dir() else [])]
        stats = [file.stat() for file in files if file.exists()]
        known.append([str(part.path.resolve()), [[stat.st_size, stat.st_mtime_ns] for stat in stats]])
    name = hashlib.sha256(json.dumps([_VERSION, known, facts], sort_keys=True).encode()).hexdigest()[:16]
    return Path(cache_dir) / f"{stem}-{name}.npz"


def load_records(
    part: Part,
    skipped: Counter[str],
    cache_dir: str | os.PathLike[str] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """Read the records of a part, from the cache where possible.

    Args:
        part: the part.
        skipped: invalid records are counted here, by what is wrong with them.
        cache_dir: the folder that keeps the records; None to keep none.
        report: called while records are read, with the number read so far and the number of all.

    Returns:
        The valid records, in the order of the file.

    Raises:
        ValueError: the part is damaged or has another format.
        OSError: the cache folder cannot be written.
    """
    path = None if cache_dir is None else cache_path(cache_dir, f"svhn-{part.name}-records", [part])
    arrays = None if path is None else read_arrays(path)
    if arrays is not None:
        skipped.update(json.loads(str(arrays["skipped"])))
        return _unpack(arrays)
    if path is not None:
        make_folder(path.parent)  # Fail before minutes of reading.
    counted: Counter[str] = Counter()
    records = part.records(counted, report)
    skipped.update(counted)
    if path is not None:
        write_arrays(path, _pack(records) | {"skipped": np.array(json.dumps(counted))})
    return records


def _pack(records: Sequence[Record]) -> dict[str, Shaped[np.ndarray, "..."]]:
    return {
        # Names have no line breaks.
        "names": np.array("\n".join(record.name for record in records)),
        "lengths": np.array([len(record.digits) for record in records]),
        "digits": np.array([digit for record in records for digit in record.digits], np.uint8),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(record.boxes for record in records)]),
    }


def _unpack(arrays: dict[str, Shaped[np.ndarray, "..."]]) -> list[Record]:
    ends = np.cumsum(arrays["lengths"]).tolist()
    names, digits, boxes = str(arrays["names"]).split("\n"), arrays["digits"].tolist(), arrays["boxes"]
    ranges = zip(names, [0, *ends], ends, strict=False)
    return [Record(name, tuple(digits[start:end]), boxes[start:end]) for name, start, end in ranges]
