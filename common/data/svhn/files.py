"""The files of SVHN's full numbers: `train`, `test` and `extra`, each a `.tar.gz` archive or the folder it unpacks to.

Each holds pictures, `1.png` and so on, and `digitStruct.mat` with their annotations (`common.data.svhn.digit_struct`).
Nothing is unpacked to disk, and no name in an archive or in `digitStruct.mat` is used as a path outside its folder.

Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011),
http://ufldl.stanford.edu/housenumbers/, format 1.
"""

import gzip
import io
import os
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from common.checks import explained
from common.data.svhn.records import Record
from common.user_files import check_memory

ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
PARTS = ("train", "test", "extra")
_BAD_IMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_BAD_ARCHIVE = (tarfile.TarError, EOFError, zlib.error, OSError)


class _Unpacked(gzip.GzipFile):
    """A gzip file that remembers the last bytes that were read."""

    last = b""

    def read(self, size: int | None = -1) -> bytes:
        self.last = super().read(size)
        return self.last


def _check_end(archive: _Unpacked) -> None:
    """Check that the archive ends where tarfile stopped: `tarfile` takes a broken header for the end without an error.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: it does not end there in zeros and a valid checksum.
    """
    content = archive.last
    ends = len(content) >= tarfile.BLOCKSIZE
    while content:
        ends = ends and content.count(0) == len(content)
        content = archive.read(1 << 16)
    if not ends:
        raise tarfile.ReadError("the archive does not end in zeros")


class Part:
    """One part of SVHN on disk, an archive or a folder.

    Attributes:
        name: train, test or extra.
        path: the archive or the folder.
    """

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path

    def records(self, skipped: Counter[str], report: Callable[[int, int], None] | None = None) -> list[Record]:
        """Read the records, see `read_records`, after the whole archive has been checked.

        Raises:
            ValueError: the file is missing, damaged, or has another format.
        """
        from common.data.svhn.digit_struct import read_records  # Needs h5py, an optional package.

        where = f"digitStruct.mat of {str(self.path)!r}"
        contents = [content for _, content in self._files(lambda name: name == "digitStruct.mat")]
        return read_records(contents[0] if contents else b"", where, skipped, report)

    def pictures(self, records: list[Record], skipped: Counter[str]) -> Iterator[tuple[Record, Image.Image]]:
        """Read the pictures of records, in the order in which they are stored.

        Args:
            records: the records, with different names.
            skipped: records whose picture is missing or unreadable are counted here.

        Yields:
            A record and its picture, mode RGB.

        Raises:
            ValueError: the archive is truncated or damaged.
        """
        wanted = {record.name: record for record in records}
        for name, content in self._files(wanted.__contains__):
            record = wanted.pop(name)
            try:
                with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
                    picture = opened.convert("RGB")
            except _BAD_IMAGE:
                skipped["an unreadable picture"] += 1
                continue
            yield record, picture
        if wanted:
            skipped["no picture"] += len(wanted)

    def _files(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the regular files that are wanted by name; subfolders are ignored."""
        if self.path.is_dir():
            for path in sorted(self.path.iterdir()):
                if wanted(path.name) and path.is_file() and not path.is_symlink():
                    yield path.name, path.read_bytes()
            return
        damaged = f"{str(self.path)!r} is truncated or damaged; delete it and download it again from {ADDRESS}"
        with (
            explained(damaged, *_BAD_ARCHIVE),
            _Unpacked(self.path) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r:") as archive,
        ):
            for member in archive:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder == self.name and member.isreg() and wanted(name):
                    check_memory(self.path, member.size)
                    file = archive.extractfile(member)
                    assert file is not None  # Because it is a regular file.
                    yield name, file.read()
            _check_end(unpacked)


def find_part(folder: str | os.PathLike[str], name: str) -> Part | None:
    """Return a part of SVHN in the user's folder: `NAME.tar.gz` or the folder `NAME`; None if there is neither."""
    for path in (Path(folder, f"{name}.tar.gz"), Path(folder, name)):
        if path.exists():
            return Part(name, path)
    return None


def describe_skipped(skipped: Counter[str]) -> str:
    """Format the skip counts as a suffix for a log line: `; skipped 3 with no picture`, or nothing."""
    return "".join(f"; skipped {count} with {what}" for what, count in sorted(skipped.items()))
