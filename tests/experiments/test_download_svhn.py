"""Downloading SVHN, from a server on this machine."""

import functools
import http.server
import threading

import pytest

from experiments import download_svhn


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served where SVHN is looked for, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

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


def test_half_a_file_is_not_kept(server, tmp_path, capsys, monkeypatch):
    folder, _ = server
    (folder / "train.tar.gz").write_bytes(b"train")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "copyfile", lambda self, source, out: out.write(b"tr"))
    with pytest.raises(SystemExit, match="2"):
        download_svhn.main([str(tmp_path / "svhn")])
    assert "train.tar.gz cannot be downloaded" in capsys.readouterr().err
    assert list((tmp_path / "svhn").iterdir()) == []
