"""The device that JAX computes on. Commands ask for it first, so that a missing one is one line."""

import os
import subprocess
import sys

import jax
from jax.extend.backend import backends


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


def _request() -> tuple[str, str]:
    """Return the variable of the environment that asks for a kind of device, and its value."""
    names = [name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)]
    name = names[0] if names else "JAX_PLATFORMS"
    return name, os.environ.get(name, "")
