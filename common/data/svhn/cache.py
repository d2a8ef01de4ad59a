"""What is kept of SVHN's files: where, and the records of a part, which take minutes to read."""

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
from common.data.svhn.files import Part, Record

# Changes whenever what is made of the files, or kept, does.
_VERSION = 3


def cache_path(cache_dir: str | os.PathLike[str], stem: str, parts: Sequence[Part], facts: Any = None) -> Path:
    """Where something is kept that is made of some parts.

    Args:
        cache_dir: the folder.
        stem: how the name of the file begins.
        parts: what it is made of. They are known by what tells one version of the files from another: size and time.
        facts: what else it depends on, as JSON can say it.

    Returns:
        The file; it need not be there.
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
    """The records of a part, from the cache where they are there.

    Args:
        part: the part.
        skipped: records that make no sense are counted here by what is wrong with them.
        cache_dir: where the records are kept for the next time; None for nowhere.
        report: called while they are read, with the records looked at so far, and all of them.

    Returns:
        The other records, in the order of the file.

    Raises:
        ValueError: if the part is damaged or of another format.
        OSError: if the folder of the cache cannot be written.
    """
    path = None if cache_dir is None else cache_path(cache_dir, f"svhn-{part.name}-records", [part])
    arrays = None if path is None else read_arrays(path)
    if arrays is not None:
        skipped.update(json.loads(str(arrays["skipped"])))
        return _unpack(arrays)
    if path is not None:
        make_folder(path.parent)  # Before the work, which would be lost.
    counted: Counter[str] = Counter()
    records = part.records(counted, report)
    skipped.update(counted)
    if path is not None:
        write_arrays(path, _pack(records) | {"skipped": np.array(json.dumps(counted))})
    return records


def _pack(records: Sequence[Record]) -> dict[str, Shaped[np.ndarray, "..."]]:
    return {
        # No name has a line break.
        "names": np.array("\n".join(record.name for record in records)),
        "lengths": np.array([len(record.digits) for record in records]),
        "digits": np.concatenate([record.digits for record in records]).astype(np.uint8),
        "boxes": np.concatenate([record.boxes for record in records]),
    }


def _unpack(arrays: dict[str, Shaped[np.ndarray, "..."]]) -> list[Record]:
    ends = np.cumsum(arrays["lengths"]).tolist()
    names, digits, boxes = str(arrays["names"]).split("\n"), arrays["digits"].tolist(), arrays["boxes"]
    places = zip(names, [0, *ends], ends, strict=False)
    return [Record(name, tuple(digits[start:end]), boxes[start:end]) for name, start, end in places]
