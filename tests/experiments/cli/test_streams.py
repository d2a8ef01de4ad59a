"""Standard streams that are closed, missing or unread, and who watches them."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments.cli import streams

ROOT = Path(__file__).parents[3]
# What `python -m experiments.NAME` is while it imports.
COMMAND = "import sys; sys.argv = ['-m']; import experiments; "
WORK = COMMAND + (
    "from rich.console import Console; Console().print('out'); Console(stderr=True).print('err'); print('x' * 10 ** 6);"
    "print('err', file=sys.stderr, flush=True); file = open('results', 'w'); file.write(str(file.fileno()))"
)


def execute(program, tmp_path, redirection="", **options):
    """Runs a Python program in a shell, with redirections."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": program}
    line = f'{sys.executable} -c "$PROGRAM" {redirection}'
    return subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, **options)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "| head -c 1", "2>&1 | head -c 1"])
def test_closed_streams_lose_no_results(redirection, tmp_path):
    done = execute(WORK, tmp_path, f"{redirection}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"Error" not in done.stderr
    assert int((tmp_path / "results").read_text()) > 2, "no file takes the number of a standard stream"


def test_a_full_disk_is_still_an_error(tmp_path):
    done = execute(COMMAND + "print('out', flush=True)", tmp_path, "> /dev/full")
    assert done.returncode != 0 and b"No space left on device" in done.stderr


@pytest.mark.parametrize("encoding, printed", [("utf-8", "é\\udce9"), ("ascii", "\\xe9\\udce9")])
def test_characters_that_a_stream_lacks_are_escaped(encoding, printed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = execute(COMMAND + "print('\\xe9\\udce9')", tmp_path)
    assert (done.returncode, done.stdout.decode().strip()) == (0, printed)


def test_what_imports_the_package_keeps_its_streams():
    program = "import sys; before = sys.stdout; import experiments; print(before is sys.stdout)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True).stdout == b"True\n"


@pytest.mark.parametrize(
    "variables, watched",
    [({}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False), ({"FORCE_COLOR": "1"}, True)],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_for_a_person_at_a_terminal(variables, watched, terminal, monkeypatch):
    for name in ("CI", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ends = pty.openpty() if terminal else os.pipe()
    with os.fdopen(ends[0], "rb"), os.fdopen(ends[1], "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert streams.is_watched() == (watched and terminal)


def test_every_bar_asks_whether_a_person_watches():
    """Rich takes FORCE_COLOR for a person: it would draw bars into a log, ten times a second."""
    assert Console(file=open(os.devnull, "w"), force_terminal=True).is_interactive, "as with FORCE_COLOR"  # noqa: SIM115
    for path in (ROOT / "experiments").rglob("*.py"):
        for start in path.read_text().split("Progress(\n")[1:] + path.read_text().split(" Progress(*")[1:]:
            call = start.partition("\n\n")[0]
            assert "disable=not console.is_interactive" in call and "console=console" in call, path
        assert "console.is_terminal" not in path.read_text(), path


def test_a_closed_terminal_loses_no_output(tmp_path):
    """Writes to a terminal that is gone fail with an error of their own."""
    program = COMMAND + (
        "import signal, time; closed = []; signal.signal(signal.SIGHUP, lambda *_: closed.append(1))\n"
        "print('begun', flush=True)\nwhile not closed: time.sleep(0.01)\n"
        "print('out', flush=True); print('err', file=sys.stderr); open('results', 'w').write('all')"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    assert b"begun" in os.read(leader, 100)
    os.close(leader)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0 and (tmp_path / "results").read_text() == "all"


def test_a_system_without_locks_is_one_line(tmp_path):
    """Windows has no module fcntl."""
    hidden = "import sys; sys.modules['fcntl'] = None; "
    done = execute(hidden + COMMAND, tmp_path, text=True)
    line = "experiments run on Linux and macOS, and on Windows in WSL: this Python has no module fcntl"
    assert (done.returncode, done.stderr) == (2, f"error: {line}\n")
    done = execute(hidden + "import experiments", tmp_path, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"ImportError: {line}"
