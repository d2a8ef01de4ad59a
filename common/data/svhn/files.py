"""The files of SVHN's full numbers: `train`, `test` and `extra`, each a `.tar.gz` archive or the folder it unpacks to.

Each holds pictures, `1.png` and so on, and `digitStruct.mat`, a MATLAB 7.3 file, which is HDF5: datasets `name` and
`bbox` of references to the name of each picture and to the boxes of its digits. A box has `left`, `top`, `width`,
`height` and `label`; each is a number where the picture has one digit, and references to numbers where it has more.

Nothing is unpacked to disk, and no name in an archive or in `digitStruct.mat` is used as a path outside its folder.

Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011),
http://ufldl.stanford.edu/housenumbers/, format 1.
"""

import gzip
import io
import os
import re
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5r, h5s
from jaxtyping import Float
from PIL import Image

ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
PARTS = ("train", "test", "extra")
# Records a second or so apart.
_REPORT_EVERY = 500
_FIELDS = (b"left", b"top", b"width", b"height", b"label")
_PICTURE = re.compile(r"[A-Za-z0-9_-]+\.png")
_BAD_IMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_BAD_ARCHIVE = (tarfile.TarError, EOFError, zlib.error, OSError)
_BAD_MATLAB = (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError)


class Record(NamedTuple):
    """What `digitStruct.mat` says of one picture.

    Attributes:
        name: its file name.
        digits: 0 to 9, in the order of the file, which is that of reading.
        boxes: float32 `[len(digits), 4]`: left, top, right, bottom of each in pixels.
    """

    name: str
    digits: tuple[int, ...]
    boxes: Float[np.ndarray, "S 4"]


def read_records(
    content: bytes, where: str, skipped: Counter[str], report: Callable[[int, int], None] | None = None
) -> list[Record]:
    """Reads `digitStruct.mat`.

    Args:
        content: the bytes of the file.
        where: what to call the file in messages.
        skipped: records that make no sense are counted here by what is wrong with them.
        report: called with the number of records looked at so far, and of all.

    Returns:
        The other records, in the order of the file.

    Raises:
        ValueError: if the file cannot be read, or is of another format.
    """
    records = []
    for done, (total, record) in enumerate(_each_record(content, where), start=1):
        if isinstance(record, str):
            skipped[record] += 1
        else:
            records.append(record)
        if report is not None and (done % _REPORT_EVERY == 0 or done == total):
            report(done, total)
    if not records:
        raise ValueError(f"{where} holds no record that makes sense{describe_skipped(skipped)}")
    return records


def _each_record(content: bytes, where: str) -> Iterator[tuple[int, Record | str]]:
    """How many records there are, and each or what is wrong with it."""
    try:
        with h5py.File(io.BytesIO(content)) as file:
            names, boxes = (file["digitStruct"][field][()].ravel() for field in ("name", "bbox"))
            if len(names) != len(boxes):
                raise ValueError(f"{len(names)} names, but {len(boxes)} lists of boxes")
            for name, box in zip(names, boxes, strict=True):
                yield len(names), _read_record(file.id, name, box)
    except _BAD_MATLAB as error:
        raise ValueError(f"{where} is not a digitStruct.mat of SVHN: {error}") from error


# A file holds millions of data sets of one number each. h5py's own objects for them double the time.
def _read_record(file: h5py.h5f.FileID, name_at: Any, box_at: Any) -> Record | str:
    """A record, or what is wrong with it."""
    try:
        name = "".join(map(chr, _read_values(h5r.dereference(name_at, file)).astype(int)))
    except _BAD_MATLAB:
        return "no name"
    if not _PICTURE.fullmatch(name):
        return "a name that is none of a picture"
    try:
        group = h5r.dereference(box_at, file)
        columns = [_read_field(file, h5d.open(group, field)) for field in _FIELDS]
    except _BAD_MATLAB:
        return "no digits"
    if not columns[0] or len({len(column) for column in columns}) > 1:
        return "no digits" if not columns[0] else "boxes that lack something"
    left, top, width, height, label = np.array(columns, np.float64)
    if not np.isfinite([left, top, width, height, label]).all() or (np.minimum(width, height) <= 0).any():
        return "an empty box"
    if ((label != label.round()) | (label < 1) | (label > 10)).any():
        return "a label that is no digit"
    boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)
    # Label 10 is the digit 0.
    return Record(name, tuple(int(digit) % 10 for digit in label), boxes)


def _read_field(file: h5py.h5f.FileID, field: h5d.DatasetID) -> list[float]:
    values = _read_values(field)
    # Numbers of one digit hold the value itself, those of more hold references to values.
    if values.dtype != object:
        return [float(value) for value in values] if len(values) == 1 else []
    return [float(_read_values(h5r.dereference(value, file))[0]) for value in values]


def _read_values(data: h5d.DatasetID) -> np.ndarray:
    values = np.zeros(data.shape, data.dtype)
    data.read(h5s.ALL, h5s.ALL, values)
    return values.ravel()


class _Unpacked(gzip.GzipFile):
    """An unpacked archive that remembers what was read of it last."""

    last = b""

    def read(self, size: int | None = -1) -> bytes:
        self.last = super().read(size)
        return self.last


def _check_end(archive: _Unpacked) -> None:
    """Checks that what tarfile, without a word, took for the end of the archive is one: zeros up to the checksum.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: if it is not.
    """
    if len(archive.last) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end")
    content = archive.last
    while content:
        if content.count(0) < len(content):
            raise tarfile.ReadError("the header of a file is broken")
        content = archive.read(1 << 16)


class Part:
    """One part of SVHN on disk, an archive or a folder.

    Attributes:
        name: train, test or extra.
        path: the archive or the folder.
    """

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path

    def records(self, skipped: Counter[str], report: Callable[[int, int], None] | None = None) -> list[Record]:
        """Reads the records, see `read_records`, once all of the part has been seen to be whole.

        Raises:
            ValueError: if the file is missing, damaged, or of another format.
        """
        where = f"digitStruct.mat of {str(self.path)!r}"
        contents = [content for _, content in self._files(lambda name: name == "digitStruct.mat")]
        if not contents:
            raise ValueError(f"{where} is missing")
        return read_records(contents[0], where, skipped, report)

    def pictures(self, records: list[Record], skipped: Counter[str]) -> Iterator[tuple[Record, Image.Image]]:
        """Reads the pictures of records, in the order in which they are stored.

        Args:
            records: what to read.
            skipped: records whose picture is missing or cannot be read are counted here.

        Yields:
            A record and its picture, mode RGB.

        Raises:
            ValueError: if the archive is truncated or damaged.
        """
        wanted: dict[str, Record] = {}
        for record in records:
            if record.name in wanted:
                skipped["a name that another has"] += 1
            wanted.setdefault(record.name, record)
        for name, content in self._files(wanted.__contains__):
            record = wanted.pop(name)
            try:
                with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
                    picture = opened.convert("RGB")
            except _BAD_IMAGE:
                skipped["a picture that cannot be read"] += 1
                continue
            yield record, picture
        if wanted:
            skipped["no picture"] += len(wanted)

    def _files(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """The regular files of the part that are wanted by name; those in deeper folders are not looked at."""
        if self.path.is_dir():
            for path in sorted(self.path.iterdir()):
                if wanted(path.name) and path.is_file() and not path.is_symlink():
                    yield path.name, path.read_bytes()
            return
        try:
            with _Unpacked(self.path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
                for member in archive:
                    folder, _, name = member.name.removeprefix("./").rpartition("/")
                    if folder == self.name and member.isreg() and wanted(name):
                        file = archive.extractfile(member)
                        assert file is not None  # It is a regular file.
                        yield name, file.read()
                _check_end(unpacked)
        except _BAD_ARCHIVE as error:
            raise ValueError(
                f"{str(self.path)!r} is truncated or damaged ({error}); delete it and get it again from {ADDRESS}"
            ) from error


def find_part(folder: str | os.PathLike[str], name: str) -> Part | None:
    """A part of SVHN in the user's folder, as `NAME.tar.gz` or as the folder `NAME`; None if there is neither.

    Raises:
        ValueError: if the user's folder is no folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is not a folder; it must hold train.tar.gz and test.tar.gz from {ADDRESS}")
    for path in (root / f"{name}.tar.gz", root / name):
        if path.exists():
            return Part(name, path)
    return None


def describe_skipped(skipped: Counter[str]) -> str:
    """What was skipped, to go on a sentence with: `; skipped 3 with no picture`, or nothing."""
    return "".join(f"; skipped {count} with {what}" for what, count in sorted(skipped.items()))
