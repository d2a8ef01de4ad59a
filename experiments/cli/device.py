"""The device that JAX computes on: commands ask for it first, and keep the programs that are compiled for it."""

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import jax
from jax.extend.backend import backends

from common.data.array_cache import user_cache_dir

# Bytes of compiled programs to keep; one of a training run takes about a million.
MOST_PROGRAMS = 2**30


def require_device() -> None:
    """Start the device that JAX computes on.

    Raises:
      ValueError: there is none of the kind asked for; quotes it, and names those there are.
    """
    try:
        jax.devices()
    except Exception as error:  # Which one depends on the kind of device.
        name, asked = _request()
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].partition("\n")[0].rstrip(".")
        jax.config.update("jax_platforms", None)
        found = ", ".join(backends())
        raise ValueError(
            f"{name} {asked!r}: no such device can be used here{f' ({reason})' if reason else ''}; there is {found}: "
            f"unset {name}, or set it to one of these"
        ) from None


def require_device_of_children() -> None:
    """Check that processes of this environment find the device that it asks for, without using it in this process.

    Raises:
      ValueError: they do not (see `require_device`).
    """
    if _request()[1] in ("", "cpu"):
        return
    program = "from experiments.cli.device import require_device; require_device()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2].removeprefix("ValueError: "))


def keep_programs() -> None:
    """Keep compiled programs in the cache folder of the user, so that commands that need them again start sooner.

    JAX's own setting of a folder, such as JAX_COMPILATION_CACHE_DIR, is left as it is. In a folder that cannot be
    written nothing is kept.
    """
    folder = user_cache_dir() / "programs" / _processor()
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _delete_oldest(folder.parent, MOST_PROGRAMS)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        # On a full disk, for example: the program is compiled again the next time.
        warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _delete_oldest(folder: Path, most: int) -> None:
    """Delete the oldest files below a folder until ``most`` bytes are left."""
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Another process may delete it meanwhile.
            if path.is_file():
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    left = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if left <= most:
            break
        path.unlink(missing_ok=True)
        left -= size


def _processor() -> str:
    """Return a name for this kind of processor: a program that is compiled for one can end in a crash on another."""
    kind = platform.machine() + platform.processor()
    flags = Path("/proc/cpuinfo")
    if flags.exists():
        kind += next((line for line in flags.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(kind.encode()).hexdigest()[:12]


def _request() -> tuple[str, str]:
    """Return the variable of the environment that asks for a kind of device, and its value."""
    names = [name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)]
    name = names[0] if names else "JAX_PLATFORMS"
    return name, os.environ.get(name, "")
