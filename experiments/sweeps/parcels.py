"""A cell on another machine: its folder travels as bytes. Imports nothing but the standard library, to start fast."""

import io
import math
import os
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


def run_cell(arguments: list[str], folder: bytes, cpus: float, gpus: float = 0.0) -> Parcel:
    """Runs a cell in a scratch folder of this machine.

    Args:
      arguments: what follows ``python``, but for the folder of the run.
      folder: the run to go on with, packed; nothing to begin one.
      cpus: the cores it may use.
      gpus: the GPUs; less than one is a part of its memory.

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
        if 0 < gpus < 1:  # A process would take three quarters of a GPU.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 * gpus:.4f}")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*_python(), *arguments, f"--run-dir={run_dir}", *(["--resume"] if folder else [])],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            try:
                code = process.wait()
            finally:
                process.kill()
        if code < 0:
            raise WorkerDied(f"killed by signal {-code}")
        return Parcel(code, log.read_bytes(), pack(run_dir))


def _python() -> list[str]:
    """The interpreter, which on Linux is killed when the worker that started it dies: its run could go nowhere."""
    if sys.platform != "linux":
        return [sys.executable]
    # PR_SET_PDEATHSIG is 1, SIGKILL 9. Set by the child, since code between fork and exec can deadlock.
    code = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, sys.executable]
