"""Cells on other machines: run directories sent as bytes. Imports the standard library alone, to start fast."""

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
    """The process of a cell was killed, so the cell may be restarted."""


class Parcel(NamedTuple):
    """The outcome of a cell on another machine.

    Attributes:
      code: the exit status of its process.
      log: the output of the process.
      folder: its packed run directory; empty if there is none.
    """

    code: int
    log: bytes
    folder: bytes


def pack(folder: Path) -> bytes:
    """Return all files of a folder as bytes; empty if there is no folder."""
    if not folder.is_dir():
        return b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Make a folder from the bytes of `pack`."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")


def run_cell(arguments: list[str], folder: bytes, cpus: float, gpus: float = 0.0) -> Parcel:
    """Run a cell in a scratch folder of this machine.

    Args:
      arguments: the arguments of ``python``, without the run directory.
      folder: the packed run to resume; empty to begin one.
      cpus: the number of cores, for the size of XLA's thread pool.
      gpus: the number of GPUs; less than one is a fraction of its memory.

    Raises:
      WorkerDied: the process was killed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run_dir, log = Path(scratch) / "run", Path(scratch) / LOG
        if folder:
            unpack(folder, run_dir)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NPROC": str(math.ceil(cpus)),  # The size of XLA's thread pool.
        }
        if 0 < gpus < 1:  # By default a process takes three quarters of a GPU.
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
    """Return the command of the interpreter; on Linux its process dies with the worker, which alone could return it."""
    if sys.platform != "linux":
        return [sys.executable]
    # PR_SET_PDEATHSIG is 1, SIGKILL 9. The child sets it, since code between fork and exec can deadlock.
    code = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, sys.executable]
