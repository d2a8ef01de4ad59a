"""SVHN's files: damaged archives, invalid records, and progress."""

import gzip
import io
import tarfile
from collections import Counter

import h5py
import pytest

from common.data.svhn.dataset import SvhnConfig, load_part
from common.data.svhn.digit_struct import read_records
from common.data.svhn.files import find_part
from tests.common.data.svhn.svhn_maker import make_mat, make_part, some_records

ONE, TWO = [(3, 4, 6, 8, 14)], [(3, 4, 6, 8, 14), (5, 14, 6, 8, 14)]
SMALL = SvhnConfig(size=16)
BLOCK = 512


@pytest.fixture
def archive(tmp_path):
    """A train.tar.gz whose records come first, so that they are readable without the last pictures."""
    make_part(tmp_path, "train", some_records(6), records_first=True)
    return tmp_path / "train.tar.gz"


def _headers(content):
    """Return the offsets of the headers of the files."""
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return [member.offset for member in opened]


def _overwrite(content, start, block):
    return content[:start] + block + content[start + BLOCK :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda tar: _overwrite(tar, _headers(tar)[3], b"\xff" * BLOCK), id="header overwritten"),
        pytest.param(lambda tar: _overwrite(tar, _headers(tar)[3], bytes(BLOCK)), id="header emptied"),
        pytest.param(lambda tar: _overwrite(tar, _headers(tar)[-1], b"\xff" * BLOCK), id="last header overwritten"),
        pytest.param(lambda tar: tar[: _headers(tar)[3]], id="cut between files"),
        pytest.param(lambda tar: tar[: _headers(tar)[3] + 100], id="cut in a header"),
        pytest.param(lambda tar: tar[: _headers(tar)[3] + BLOCK + 100], id="cut in a file"),
        pytest.param(lambda tar: tar[: _headers(tar)[0]], id="empty"),
    ],
)
@pytest.mark.fault("hostile archives and .mat files", "named")
def test_damaged_archive_is_an_error_and_is_not_cached(archive, tmp_path, spoil):
    archive.write_bytes(gzip.compress(spoil(gzip.decompress(archive.read_bytes()))))
    message = r"train\.tar\.gz' is truncated or damaged; delete it and download it again from http://ufldl.*: .+"
    with pytest.raises(ValueError, match=message):
        load_part(find_part(tmp_path, "train"), SMALL, tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


@pytest.mark.fault("hostile archives and .mat files", "named")
def test_wrong_checksum_is_an_error(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1  # The file ends in checksum and length, four bytes each.
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.tar\.gz' is truncated or damaged; .*: CRC check failed"):
        load_part(find_part(tmp_path, "train"), SMALL)


@pytest.mark.parametrize("padding", [2, 20, 200])
@pytest.mark.fault("hostile archives and .mat files", "exact")
def test_archive_may_end_in_any_number_of_zeros(archive, tmp_path, padding):
    expected = load_part(find_part(tmp_path, "train"), SMALL)
    content = gzip.decompress(archive.read_bytes()).rstrip(b"\0")
    content += bytes(-len(content) % BLOCK + padding * BLOCK)
    archive.write_bytes(gzip.compress(content))
    padded = load_part(find_part(tmp_path, "train"), SMALL)
    assert (padded.images == expected.images).all() and len(expected.labels) == 6


def _edited(records, edit):
    """Return the bytes of digitStruct.mat after an edit of its HDF5 file."""
    content = io.BytesIO(make_mat(records))
    with h5py.File(content, "r+") as file:
        edit(file)
    return content.getvalue()


def _lose_name(file):
    file["digitStruct/name"][1] = h5py.Reference()


def _point_name_at_boxes(file):
    file["digitStruct/name"][1] = file["digitStruct/bbox"][1]


def _lose_width(file):
    group = file["#refs#/b1"]
    widths = group["width"][:1]
    del group["width"]
    group.create_dataset("width", data=widths, dtype=h5py.ref_dtype)


def _empty_height(file):
    group = file["#refs#/b1"]
    del group["height"]
    group.create_dataset("height", data=[], dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    ("edit", "counted"),
    [
        (_lose_name, "no name"),
        (_point_name_at_boxes, "no name"),
        (_lose_width, "incomplete boxes"),
        (_empty_height, "incomplete boxes"),
    ],
)
@pytest.mark.fault("hostile archives and .mat files", "exact")
def test_incomplete_record_is_counted_and_skipped(edit, counted):
    content = _edited([("1.png", ONE), ("2.png", TWO), ("3.png", ONE)], edit)
    skipped = Counter()
    assert [record.name for record in read_records(content, "here", skipped)] == ["1.png", "3.png"]
    assert skipped == {counted: 1}


def test_progress_of_reading_records_is_reported(monkeypatch):
    monkeypatch.setattr("common.data.svhn.digit_struct._REPORT_EVERY", 3)
    reports = []
    content = make_mat([*some_records(6), ("7.png", [])])
    read_records(content, "here", Counter(), lambda *counts: reports.append(counts))
    assert reports == [(3, 7), (6, 7), (7, 7)]


def test_error_of_the_progress_callback_is_not_taken_for_a_bad_file():
    def stop(*_):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="^enough$"):
        read_records(make_mat(some_records(1)), "here", Counter(), stop)
