"""SVHN's files where they are damaged, strange or slow to read."""

import gzip
import io
import tarfile

import pytest

from common.data.svhn import SvhnConfig, load_part
from common.data.svhn_files import find_part
from tests.common.data.svhn_maker import make_part, some_records

SMALL = SvhnConfig(size=16)
BLOCK = 512


@pytest.fixture
def archive(tmp_path):
    """train.tar.gz whose records come first, so that it can be read without its last pictures."""
    make_part(tmp_path, "train", some_records(6), records_first=True)
    return tmp_path / "train.tar.gz"


def _headers(content):
    """Where the headers of the files start."""
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
def test_a_damaged_tar_is_an_error_and_is_not_kept(archive, tmp_path, spoil):
    archive.write_bytes(gzip.compress(spoil(gzip.decompress(archive.read_bytes()))))
    said = r"train\.tar\.gz' is truncated or damaged \(.+\); get it again from http://ufldl"
    with pytest.raises(ValueError, match=said):
        load_part(find_part(tmp_path, "train"), SMALL, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_wrong_checksum_is_an_error(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1  # The checksum is in front of the length, four bytes each.
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.tar\.gz' is truncated or damaged \(CRC check failed"):
        load_part(find_part(tmp_path, "train"), SMALL)


@pytest.mark.parametrize("padding", [2, 20, 200])
def test_an_archive_may_end_in_more_or_less_zeros(archive, tmp_path, padding):
    whole = load_part(find_part(tmp_path, "train"), SMALL)
    content = gzip.decompress(archive.read_bytes()).rstrip(b"\0")
    content += bytes(-len(content) % BLOCK + padding * BLOCK)
    archive.write_bytes(gzip.compress(content))
    again = load_part(find_part(tmp_path, "train"), SMALL)
    assert (again.images == whole.images).all() and len(whole.labels) == 6
