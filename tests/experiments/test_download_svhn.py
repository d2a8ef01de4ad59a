"""Downloading SVHN from a local server."""

import functools
import hashlib
import http.client
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from experiments import download_svhn


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files or ranges of them, and closes the connection after `limit` bytes."""

    ranges, limit, requests = True, None, []

    def do_GET(self):
        wanted = self.headers.get("Range") if self.ranges else None
        self.requests.append(self.path if wanted is None else (self.path, wanted))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = 0 if wanted is None else int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(200 if wanted is None else 206)
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder served at SVHN's address, and the list of requests: paths, or paths and ranges."""
    folder, requests = tmp_path / "served", []
    folder.mkdir()
    monkeypatch.setattr(Handler, "requests", requests)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(download_svhn, "ADDRESS", f"http://127.0.0.1:{running.server_port}/")
        yield folder, requests
        running.shutdown()


@pytest.fixture
def serve(server, monkeypatch):
    """Serves a part with the digest of its content."""

    def call(part, content):
        (server[0] / f"{part}.tar.gz").write_bytes(content)
        monkeypatch.setitem(download_svhn.DIGESTS, part, hashlib.sha256(content).hexdigest())

    return call


def test_parts_are_downloaded_once(server, serve, tmp_path, capsys):
    folder, requests = server
    for part in ("train", "test", "extra"):
        serve(part, part.encode() * 10_000)
    there = tmp_path / "new" / "svhn"
    download_svhn.main([str(there), "--no-extra"])
    assert sorted(path.name for path in there.iterdir()) == ["test.tar.gz", "train.tar.gz"]
    download_svhn.main([str(there)])
    assert "train.tar.gz' exists: delete it to download it again" in capsys.readouterr().err
    assert requests == ["/train.tar.gz", "/test.tar.gz", "/extra.tar.gz"]
    for path in there.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_file_in_place_of_the_folder_is_a_one_line_error(tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(path)])
    assert capsys.readouterr().err == f"error: folder {str(path)!r} is a file: give a folder\n"


def test_missing_file_is_a_one_line_error(server, serve, tmp_path, capsys):
    serve("train", b"train")
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(tmp_path / "svhn")])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: http://127.0.0.1:")
    assert "/test.tar.gz cannot be downloaded: HTTP Error 404" in message
    assert [path.name for path in (tmp_path / "svhn").iterdir()] == ["train.tar.gz"]


@pytest.fixture
def content(serve):
    """The content of train.tar.gz: 200,000 bytes, no two words of which are the same."""
    content = np.arange(50_000, dtype="<u4").tobytes()
    serve("train", content)
    serve("test", b"test")
    return content


def _error(capsys, folder):
    """The error of a download that fails."""
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(folder), "--no-extra"])
    return capsys.readouterr().err.splitlines()[-1]


def test_next_download_continues_after_a_lost_connection(server, content, tmp_path, capsys, monkeypatch):
    there = tmp_path / "svhn"
    monkeypatch.setattr(Handler, "limit", 90_000)
    for size in (90_000, 180_000):
        message = _error(capsys, there)
        assert message.startswith("error: http://127.0.0.1:")
        assert "/train.tar.gz cannot be downloaded: the connection was closed" in message
        assert f"after {size:,} of 200,000 bytes; the same command continues where it stopped" in message
        assert [path.name for path in there.iterdir()] == ["train.tar.gz.partial"]
        assert (there / "train.tar.gz.partial").read_bytes() == content[:size]
    download_svhn.main([str(there), "--no-extra"])
    assert sorted(path.name for path in there.iterdir()) == ["test.tar.gz", "train.tar.gz"]
    assert (there / "train.tar.gz").read_bytes() == content
    name = "/train.tar.gz"
    assert server[1] == [name, (name, "bytes=90000-"), (name, "bytes=180000-"), "/test.tar.gz"]


def _with_partial(folder, content):
    folder.mkdir()
    (folder / "train.tar.gz.partial").write_bytes(content)
    return folder


def test_download_starts_again_if_the_server_has_no_ranges(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "ranges", False)
    there = _with_partial(tmp_path / "svhn", b"x" * 1_000)
    download_svhn.main([str(there), "--no-extra"])
    assert (there / "train.tar.gz").read_bytes() == content


def test_complete_file_is_not_fetched_again(server, content, tmp_path):
    there = _with_partial(tmp_path / "svhn", content)
    download_svhn.main([str(there), "--no-extra"])
    assert (there / "train.tar.gz").read_bytes() == content
    assert server[1] == [("/train.tar.gz", "bytes=200000-"), "/test.tar.gz"]


@pytest.mark.parametrize("spoil", [lambda content: content + b"x", lambda content: b"x" + content[1:1_000]])
def test_file_with_a_wrong_digest_is_deleted(server, content, tmp_path, capsys, spoil):
    there = _with_partial(tmp_path / "svhn", spoil(content))
    message = _error(capsys, there)
    assert "cannot be downloaded: its SHA-256 is " in message
    assert message.endswith(f", expected {hashlib.sha256(content).hexdigest()}")
    assert not list(there.iterdir())
    download_svhn.main([str(there), "--no-extra"])
    assert (there / "train.tar.gz").read_bytes() == content


def test_timeout_and_malformed_response_are_one_line_errors(server, content, tmp_path, capsys, monkeypatch):
    silent = threading.Event()
    monkeypatch.setattr(download_svhn, "TIMEOUT", 0.2)
    monkeypatch.setattr(Handler, "do_GET", lambda self: silent.wait(10))
    assert "/train.tar.gz cannot be downloaded: " in _error(capsys, tmp_path / "svhn")
    silent.set()
    monkeypatch.setattr(download_svhn, "TIMEOUT", 60)
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.wfile.write(b"nonsense\r\n\r\n"))
    message = _error(capsys, tmp_path / "svhn")
    assert message.startswith("error: http://127.0.0.1:") and message.endswith("cannot be downloaded: nonsense")


def test_ctrl_c_keeps_the_downloaded_bytes(server, content, tmp_path, capsys, monkeypatch):
    read = http.client.HTTPResponse.read

    def interrupt(response, amount):
        if response.fp is not None and response.length < 150_000:
            raise KeyboardInterrupt
        return read(response, amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", interrupt)
    with pytest.raises(SystemExit, match="130"):
        download_svhn.main([str(tmp_path / "svhn")])
    assert capsys.readouterr().err.endswith("interrupted; the same command continues where it stopped\n")
    partial = tmp_path / "svhn" / "train.tar.gz.partial"
    assert partial.read_bytes() == content[: partial.stat().st_size] and partial.stat().st_size > 50_000
