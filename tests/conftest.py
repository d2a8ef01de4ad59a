"""Strict settings for all tests: shapes and types are checked at run time, and ranks must agree."""

import os
import subprocess

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook(["common", "dram", "ram", "stn", "experiments"], "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Comparisons with NumPy hold on accelerators too, whose default is a lower precision.
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def x64():
    """Double precision, for finite differences."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Lets a badly typed argument through, to see what users see: the type checks exist under pytest alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def quick_compile():
    """Compiles in half the time, to slower code: for tests of what is computed that run it once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of so many MiB as ``disk`` in the folder of the test."""
    disk = tmp_path / "disk"

    def mount(size):
        disk.mkdir()
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", disk], check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no disk of a limited size can be mounted here: {error}")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", "-l", disk], check=True)
