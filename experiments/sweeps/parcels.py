"""A cell on another machine: its folder travels as bytes. Imports nothing but the standard library, to start fast."""

import ctypes
import io
import math
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

LOG = "log.txt"


class WorkerDied(Exception):
    """The process of a cell was killed, which says nothing against the cell."""


class Parcel(NamedTuple):
    """What comes back of a cell: the exit status of its process, its log, and its folder (empty where it made none)."""

    code: int
    log: bytes
    folder: bytes


def pack(folder: Path) -> bytes:
    """All files of a folder; nothing where there is no folder."""
    if not folder.is_dir():
        return b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Makes a folder of what `pack` made."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")


def run_cell(arguments: list[str], folder: bytes, cpus: float) -> Parcel:
    """Runs a cell in a scratch folder of this machine.

    Args:
      arguments: what follows ``python``, but for the folder of the run.
      folder: the run to go on with, packed; nothing to begin one.
      cpus: the cores it may use.

    Raises:
      WorkerDied: the process was killed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run_dir, log = Path(scratch) / "run", Path(scratch) / LOG
        if folder:
            unpack(folder, run_dir)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NPROC": str(math.ceil(cpus)),  # The size of XLA's pool of threads.
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments, f"--run-dir={run_dir}", *(["--resume"] if folder else [])],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
            try:
                code = process.wait()
            finally:
                process.kill()
        if code < 0:
            raise WorkerDied(f"killed by signal {-code}")
        return Parcel(code, log.read_bytes(), pack(run_dir))


def _die_with_parent() -> None:
    """Has this process killed when the worker that started it dies, since its result could go nowhere."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
