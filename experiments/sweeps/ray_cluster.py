"""The Ray launcher: cells as tasks of a Ray cluster, whose machines need not share a disk."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.sweeps import parcels
from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.directory import cell_folder, has_run, read_results
from experiments.sweeps.launchers import Notify, Status, Stop
from experiments.sweeps.logs import last_error, log_path
from experiments.training import provenance, run_directory
from experiments.training.run_directory import MARKER

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected to the cluster at an address; without one, to a new cluster of this machine alone."""
    import ray

    is_new = not ray.is_initialized()
    if is_new:
        packages = [ROOT / name for name in ("common", "ram", "dram", "stn", "experiments")]
        settings = {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
        # The machines get this code, so they need only the libraries.
        runtime_env = {"py_modules": [str(path) for path in packages if path.is_dir()], "env_vars": settings}
        options: dict[str, Any] = {"runtime_env": runtime_env, "log_to_driver": False, "logging_level": "ERROR"}
        with _signals_kept():
            ray.init(address or "local", **options)
    try:
        yield ray
    finally:
        if is_new:
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the signals of a sweep while Ray starts.

    Ray takes SIGTERM for itself. Its processes would die of a closed terminal before the sweep has stopped its cells,
    so they inherit that SIGHUP is blocked; one that comes meanwhile is delivered afterwards.
    """
    handler = signal.getsignal(signal.SIGTERM)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def execute(
    cells: Sequence[Cell],
    sweep: Path,
    notify: Notify,
    stop: Stop,
    *,
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 3,
    reports: bool = False,
) -> None:
    """Run cells as Ray tasks; see `experiments.sweeps.launchers.Execute`.

    When a worker dies, Ray restarts its task on another one, ``retries`` times. A run directory returns only when the
    process of its cell ends, so a restarted cell begins from its state at the start of the sweep.
    """
    with connected(address) as ray:
        if (missing := _missing_resources(ray, cpus, gpus)) and cells:
            notify(cells[0], Status("waiting", f"for a machine with {missing}: the cluster has none yet"))
        task = ray.remote(parcels.run_cell).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=retries, retry_exceptions=[parcels.WorkerDied]
        )
        tasks: dict[Any, Cell] = {}
        for cell in cells:
            run_dir = cell_folder(sweep, cell)
            folder = parcels.pack(run_dir) if has_run(run_dir) else b""
            if not folder and run_dir.exists():
                advice = "restore it from a copy, or delete the folder to start the cell again"
                notify(cell, Status("failed", f"run directory {str(run_dir)!r} has lost its {MARKER}: {advice}"))
                continue
            command = arguments(cell, None, resume=False, reports=reports)
            tasks[task.remote(command, folder, cpus, gpus)] = cell
            notify(cell, Status("waiting", "in Ray"))
        while tasks and not stop.requests:
            for reference in ray.wait(list(tasks), timeout=POLL_SECONDS)[0]:
                cell = tasks.pop(reference)
                try:
                    parcel = ray.get(reference)
                except (ray.exceptions.RayError, parcels.WorkerDied) as error:
                    reason = str(getattr(error, "cause", None) or error).strip().splitlines()
                    notify(cell, Status("failed", f"its worker died: {reason[0] if reason else type(error).__name__}"))
                else:
                    notify(cell, store(parcel, cell, sweep))
        for reference, cell in tasks.items():
            ray.cancel(reference, force=True)
            notify(cell, Status("stopped"))


def store(parcel: parcels.Parcel, cell: Cell, sweep: Path) -> Status:
    """Store the run directory and the log of a cell in the sweep, and return how the cell ended."""
    run_dir = cell_folder(sweep, cell)
    if parcel.folder:
        incoming = run_dir.with_name(f".{run_dir.name}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        parcels.unpack(parcel.folder, incoming)
        _add_commit(incoming)
        shutil.rmtree(run_dir, ignore_errors=True)
        incoming.rename(run_dir)
    log = log_path(run_dir)
    with log.open("ab") as file:
        file.write(parcel.log)
    if parcel.code == 0 and read_results(sweep, cell):
        return Status("finished")
    return Status("failed", last_error(log, parcel.code))


def _add_commit(run_dir: Path) -> None:
    """Add the commit to the results, which the other machine did not know: its code has no repository."""
    path = run_dir / "results.json"
    if path.is_file():
        results = run_directory.read_json(path)
        if results.get("commit") is None:
            run_directory.write_sealed(path, results | {"commit": provenance.commit()})


def _missing_resources(ray: Any, cpus: float, gpus: float) -> str:
    """Describe the resources that a cell needs if no machine of the cluster has them; empty if one does."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        return ""
    return f"{cpus:g} free cores" + (f" and {gpus:g} GPUs" if gpus else "")
