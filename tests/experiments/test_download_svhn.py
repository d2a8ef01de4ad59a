"""Downloading SVHN, from a server on this machine."""

import functools
import http.client
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from experiments import download_svhn


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, parts of them where it is asked for, and breaks off after `limit` bytes of each."""

    ranges, limit, asked = True, None, []

    def do_GET(self):
        wanted = self.headers.get("Range") if self.ranges else None
        self.asked.append(self.path if wanted is None else (self.path, wanted))
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
    """A folder that is served where SVHN is looked for, and what was asked for: paths, or paths and ranges."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    monkeypatch.setattr(Handler, "asked", asked)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(download_svhn, "ADDRESS", f"http://127.0.0.1:{running.server_port}/")
        yield folder, asked
        running.shutdown()


def test_the_parts_are_downloaded_once(server, tmp_path, capsys):
    folder, asked = server
    for part in ("train", "test", "extra"):
        (folder / f"{part}.tar.gz").write_bytes(part.encode() * 10_000)
    there = tmp_path / "new" / "svhn"
    download_svhn.main([str(there), "--no-extra"])
    assert sorted(path.name for path in there.iterdir()) == ["test.tar.gz", "train.tar.gz"]
    download_svhn.main([str(there)])
    assert "train.tar.gz' is there already: delete it to download it again" in capsys.readouterr().err
    assert asked == ["/train.tar.gz", "/test.tar.gz", "/extra.tar.gz"]
    for path in there.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(path)])
    assert capsys.readouterr().err == f"error: folder {str(path)!r} is a file: give a folder\n"


def test_what_cannot_be_had_is_one_line(server, tmp_path, capsys):
    folder, _ = server
    (folder / "train.tar.gz").write_bytes(b"train")
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(tmp_path / "svhn")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: http://127.0.0.1:") and "/test.tar.gz cannot be downloaded: HTTP Error 404" in said
    assert [path.name for path in (tmp_path / "svhn").iterdir()] == ["train.tar.gz"]


@pytest.fixture
def whole(server):
    """The first part that is served: 200,000 bytes, each of which tells its place."""
    content = np.arange(50_000, dtype="<u4").tobytes()
    (server[0] / "train.tar.gz").write_bytes(content)
    (server[0] / "test.tar.gz").write_bytes(b"test")
    return content


def _refused(capsys, folder):
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(folder), "--no-extra"])
    return capsys.readouterr().err.splitlines()[-1]


def test_a_lost_connection_is_one_line_and_the_next_download_goes_on(server, whole, tmp_path, capsys, monkeypatch):
    there = tmp_path / "svhn"
    monkeypatch.setattr(Handler, "limit", 90_000)
    for size in (90_000, 180_000):
        said = _refused(capsys, there)
        assert said.startswith("error: http://127.0.0.1:") and "/train.tar.gz cannot be downloaded: the connect" in said
        assert f"closed after {size:,} of 200,000 bytes; the same command goes on with what is there" in said
        assert [path.name for path in there.iterdir()] == ["train.tar.gz.partial"]
        assert (there / "train.tar.gz.partial").read_bytes() == whole[:size]
    download_svhn.main([str(there), "--no-extra"])
    assert sorted(path.name for path in there.iterdir()) == ["test.tar.gz", "train.tar.gz"]
    assert (there / "train.tar.gz").read_bytes() == whole
    name = "/train.tar.gz"
    assert server[1] == [name, (name, "bytes=90000-"), (name, "bytes=180000-"), "/test.tar.gz"]


def _with_partial(folder, content):
    folder.mkdir()
    (folder / "train.tar.gz.partial").write_bytes(content)
    return folder


def test_a_server_that_cannot_go_on_starts_again(server, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "ranges", False)
    there = _with_partial(tmp_path / "svhn", b"x" * 1_000)
    download_svhn.main([str(there), "--no-extra"])
    assert (there / "train.tar.gz").read_bytes() == whole


@pytest.mark.parametrize("surplus, requests", [(0, 1), (5, 2)])
def test_what_is_whole_already_is_not_fetched_and_what_is_too_long_is_fetched_anew(
    server, whole, tmp_path, surplus, requests
):
    there = _with_partial(tmp_path / "svhn", whole + bytes(surplus))
    download_svhn.main([str(there), "--no-extra"])
    assert (there / "train.tar.gz").read_bytes() == whole and len(server[1]) == requests + 1


def test_another_part_than_was_asked_for_is_refused(server, whole, tmp_path, capsys, monkeypatch):
    send_header = Handler.send_header
    monkeypatch.setattr(
        Handler, "send_header", lambda self, name, value: send_header(self, name, value.replace("bytes 7-", "bytes 3-"))
    )
    there = _with_partial(tmp_path / "svhn", whole[:7])
    assert "'bytes 3-199999/200000', not the bytes from 7 on" in _refused(capsys, there)
    assert (there / "train.tar.gz.partial").read_bytes() == whole[:7]


def test_silence_and_nonsense_are_one_line(server, whole, tmp_path, capsys, monkeypatch):
    silent = threading.Event()
    monkeypatch.setattr(download_svhn, "TIMEOUT", 0.2)
    monkeypatch.setattr(Handler, "do_GET", lambda self: silent.wait(10))
    assert "/train.tar.gz cannot be downloaded: " in _refused(capsys, tmp_path / "svhn")
    silent.set()
    monkeypatch.setattr(download_svhn, "TIMEOUT", 60)
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.wfile.write(b"nonsense\r\n\r\n"))
    said = _refused(capsys, tmp_path / "svhn")
    assert said.startswith("error: http://127.0.0.1:") and said.endswith("cannot be downloaded: nonsense")


def test_ctrl_c_keeps_what_is_there(server, whole, tmp_path, capsys, monkeypatch):
    read = http.client.HTTPResponse.read

    def interrupt(response, amount):
        if response.fp is not None and response.length < 150_000:
            raise KeyboardInterrupt
        return read(response, amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", interrupt)
    with pytest.raises(SystemExit, match="130"):
        download_svhn.main([str(tmp_path / "svhn")])
    assert capsys.readouterr().err.endswith("interrupted; the same command goes on with what is there\n")
    partial = tmp_path / "svhn" / "train.tar.gz.partial"
    assert partial.read_bytes() == whole[: partial.stat().st_size] and partial.stat().st_size > 50_000
