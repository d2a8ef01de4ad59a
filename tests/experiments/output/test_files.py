"""Files at a path of the user's: atomic, through links, and into devices and pipes as they are."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.checks import check_output
from experiments.output.files import write_bytes


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_file_is_replaced_and_nothing_else_is_left():
    for data in (b"old", b"new"):
        assert write_bytes("folder/file", data) == Path("folder/file")
        assert Path("folder/file").read_bytes() == data and os.listdir("folder") == ["file"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_replaced(exists):
    Path("elsewhere").mkdir()
    if exists:
        Path("elsewhere/target").write_text("old")
    Path("second").symlink_to("elsewhere/target")
    Path("first").symlink_to("second")
    check_output("output", Path("first"))
    write_bytes("first", b"new")
    assert Path("first").is_symlink() and Path("second").is_symlink()
    assert Path("elsewhere/target").read_bytes() == b"new" and not Path("elsewhere/target").is_symlink()
    assert sorted(os.listdir()) == ["elsewhere", "first", "second"] and os.listdir("elsewhere") == ["target"]


def test_a_pipe_takes_the_bytes_and_stays():
    os.mkfifo("pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    write_bytes("pipe", b"data")
    reader.join()
    assert got == [b"data"] and stat.S_ISFIFO(os.stat("pipe").st_mode) and os.listdir() == ["pipe"]


def test_a_device_stays():
    write_bytes("/dev/null", b"data")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        Path("link").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left on device"):
            write_bytes("link", b"data")
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode) and Path("link").is_symlink()


@pytest.mark.parametrize("to_file", [False, True])
def test_standard_output_takes_the_bytes_in_their_order(to_file):
    code = "from experiments.output.files import write_bytes; print(1); write_bytes('/dev/stdout', b'2\\n'); print(3)"
    command, env = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    if to_file:
        with open("out", "wb") as out:
            subprocess.run(command, stdout=out, env=env, check=True)
        assert Path("out").read_text() == "1\n2\n3\n"
    else:
        assert subprocess.run(command, capture_output=True, env=env, check=True).stdout == b"1\n2\n3\n"


@pytest.mark.parametrize("path", [".", "folder", "to_folder", "absent/file", "to_absent"])
def test_a_folder_or_a_file_in_no_folder_is_refused(path):
    Path("folder").mkdir()
    Path("to_folder").symlink_to("folder")
    Path("to_absent").symlink_to("absent/file")
    with pytest.raises(ValueError, match=f"^output '{path}': must be a file in a folder that exists$"):
        check_output("output", Path(path))
    if Path(path).is_dir():
        with pytest.raises(IsADirectoryError, match=f"^'{path}' is a folder: give a file$"):
            write_bytes(path, b"data")
