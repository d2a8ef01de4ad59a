"""Reads `digitStruct.mat`, the annotations of a part of SVHN; the only module that knows h5py.

A MATLAB 7.3 file is HDF5. The datasets `name` and `bbox` hold references to the name of each picture and to the boxes
of its digits. A box has `left`, `top`, `width`, `height` and `label`; each is a number where the picture has one digit,
and an array of references to numbers where it has more.
"""

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5r, h5s

from common.checks import explained
from common.data.svhn.records import Record

# Records between two progress reports: about a second.
_REPORT_EVERY = 500
# Far more than any part of SVHN has in one data set. A file may claim more values than fit into memory.
_MOST_VALUES = 10_000_000
_FIELDS = (b"left", b"top", b"width", b"height", b"label")
_PICTURE = re.compile(r"[A-Za-z0-9_-]+\.png")
_BAD_MATLAB = (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError)


def read_records(
    content: bytes, where: str, skipped: Counter[str], report: Callable[[int, int], None] | None = None
) -> list[Record]:
    """Read `digitStruct.mat`.

    Args:
        content: the bytes of the file.
        where: the name of the file for messages.
        skipped: invalid records are counted here, by what is wrong with them.
        report: called with the number of records read so far, and the number of all.

    Returns:
        The valid records, in the order of the file.

    Raises:
        ValueError: the file cannot be read, has another format, leads into another file, or claims too
            many values.
    """
    records = []
    for done, (total, record) in enumerate(_iterate_records(content, where), start=1):
        if isinstance(record, str):
            skipped[record] += 1
        else:
            records.append(record)
        if report is not None and (done % _REPORT_EVERY == 0 or done == total):
            report(done, total)
    return records


class _RefusedError(Exception):
    """The file leads into another file, which HDF5 would read without a question, or claims more than it holds."""


def _iterate_records(content: bytes, where: str) -> Iterator[tuple[int, Record | str]]:
    """Yield the number of all records, with each record or what is wrong with it."""
    kinds = (*_BAD_MATLAB, _RefusedError)
    with explained(f"{where} is not a digitStruct.mat of SVHN", *kinds), h5py.File(io.BytesIO(content)) as file:
        struct = _open(file["/"].id, b"digitStruct")
        names, boxes = (_read_values(_open(struct, field)) for field in (b"name", b"bbox"))
        for name, box in zip(names, boxes, strict=True):
            yield len(names), _read_record(file.id, name, box)


# A file holds millions of data sets of one number each. h5py's high-level objects would take twice as long.
def _read_record(file: h5py.h5f.FileID, name_at: Any, box_at: Any) -> Record | str:
    """Return a record, or what is wrong with it."""
    try:
        name = "".join(map(chr, _read_values(h5r.dereference(name_at, file)).astype(int)))
    except _BAD_MATLAB:
        return "no name"
    if not _PICTURE.fullmatch(name):
        return "an invalid file name"
    try:
        group = h5r.dereference(box_at, file)
        columns = [_read_field(file, _open(group, field)) for field in _FIELDS]
    except _BAD_MATLAB:
        return "no digits"
    if not columns[0]:
        return "no digits"
    if len({len(column) for column in columns}) > 1:
        return "incomplete boxes"
    left, top, width, height, label = np.array(columns, np.float64)
    if not np.isfinite([left, top, width, height, label]).all() or (np.minimum(width, height) <= 0).any():
        return "an empty box"
    if ((label != label.round()) | (label < 1) | (label > 10)).any():
        return "a label that is not a digit"
    boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)
    # Label 10 is the digit 0.
    return Record(name, tuple(int(digit) % 10 for digit in label), boxes)


def _read_field(file: h5py.h5f.FileID, field: h5d.DatasetID) -> list[float]:
    values = _read_values(field)
    # With one digit the field holds the number itself, with more it holds references to numbers.
    if values.dtype != object:
        return [float(value) for value in values] if len(values) == 1 else []
    return [float(_read_values(h5r.dereference(value, file))[0]) for value in values]


def _open(group: h5g.GroupID, name: bytes) -> Any:
    """Open a member of a group that is stored in it and not linked to, perhaps in another file."""
    if group.links.get_info(name).type != h5l.TYPE_HARD:
        raise _RefusedError(f"its {name.decode()} is a link")
    return h5o.open(group, name)


def _read_values(data: h5d.DatasetID) -> np.ndarray:
    # Only values without a place in the file may lie in another one; to ask for the place costs least.
    if data.get_offset() is None:
        plan = data.get_create_plist()
        if plan.get_layout() == h5d.VIRTUAL or plan.get_external_count():
            raise _RefusedError("its values lie in another file")
    if math.prod(data.shape) * data.dtype.itemsize > 8 * _MOST_VALUES:
        raise _RefusedError(f"it claims {math.prod(data.shape):,} values in one place")
    values = np.zeros(data.shape, data.dtype)
    data.read(h5s.ALL, h5s.ALL, values)
    return values.ravel()
