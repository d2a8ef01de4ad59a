"""Strict settings for all tests: shapes and types are checked at run time, and ranks must agree."""

import functools
import gc
import os
import signal
import subprocess
import tempfile
from collections import Counter

import jaxlib.version

# In the environment, so that they hold for the processes that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Compiles in half the time, to slower code, which most tests run once.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# Comparisons with NumPy hold on accelerators too, whose default is a lower precision.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # Removed at exit. House numbers and SVHN are cached here, not in the user's folder.
    cache = tempfile.TemporaryDirectory(prefix="cache-")
    os.environ["HARD_ATTENTION_CACHE"] = cache.name
    # Removed at exit. What one process has compiled no other compiles again.
    compiled = tempfile.TemporaryDirectory(prefix="compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and jaxlib.version.__version_info__ < (0, 11):
        # Compile in half the time. XLA aborts on a flag that it does not know, so newer versions go without.
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

import jax
import jaxtyping
import pytest

from tests.faults.table import record

# Under nohup a closed terminal is ignored, as it would be by the programs under test and the processes that they start.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Traced programs are many objects, few of them garbage: to look for it less often saves a tenth of the time.
gc.set_threshold(200_000, 500, 1000)
jaxtyping.install_import_hook(["common", "dram", "ram", "stn", "experiments"], "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that count faults."""
    for item in items:
        if "record_fault" in item.fixturenames and item.get_closest_marker("fault") is None:
            item.add_marker("fault")


def pytest_terminal_summary(terminalreporter):
    """Tell in one line which tests were skipped, and why."""
    skips = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    reasons = "; ".join(f"{count} ({' '.join(reason.split())})" for reason, count in skips.items())
    terminalreporter.write_line(f"skipped tests: {reasons or 'none'}")


@pytest.fixture
def record_fault(request):
    """Counts faults, by kind and outcome, for the table of `tests.faults.table`."""
    return functools.partial(record, request.config)


def pytest_sessionfinish():
    """Leaves the garbage of the tests to the end of the process: to look for it takes seconds."""
    gc.freeze()


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
