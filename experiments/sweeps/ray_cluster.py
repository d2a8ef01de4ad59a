"""Cells as tasks of a Ray cluster, whose machines share no disk."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.sweeps import parcels
from experiments.sweeps.cells import Cell, arguments
from experiments.sweeps.directory import begun, cell_folder, read_results
from experiments.sweeps.launchers import Notify, Status, Stop
from experiments.sweeps.logs import last_error, log_path
from experiments.training import provenance, run_directory

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2


def require() -> None:
    """Checks that Ray is there.

    Raises:
      ValueError: it is not installed; says how to.
    """
    if importlib.util.find_spec("ray") is None:
        raise ValueError("launcher 'ray': Ray is not installed; install it with: pip install '.[ray]'")


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one of this machine alone where there is no address."""
    import ray

    mine = not ray.is_initialized()
    if mine:
        packages = [ROOT / name for name in ("common", "ram", "dram", "stn", "experiments")]
        settings = {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
        # The code travels, so that the machines need nothing but the libraries, and run what is here.
        travels = {"py_modules": [str(path) for path in packages if path.is_dir()], "env_vars": settings}
        options: dict[str, Any] = {"runtime_env": travels, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(address or "local", **options)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


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
    """Runs cells as Ray tasks; see `experiments.sweeps.launchers.Execute`.

    Ray tries a task again on another worker when its own dies, ``retries`` times. The folder of a cell comes back when
    its process ends, well or not, so a cell that is tried again starts from what was there when the sweep began.
    """
    with connected(address) as ray:
        if (missing := _missing(ray, cpus, gpus)) and cells:
            notify(cells[0], Status("waiting", f"for a machine with {missing}: the cluster has none yet"))
        task = ray.remote(parcels.run_cell).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=retries, retry_exceptions=[parcels.WorkerDied]
        )
        sent: dict[Any, Cell] = {}
        for cell in cells:
            run_dir = cell_folder(sweep, cell)
            folder = parcels.pack(run_dir) if begun(run_dir) else b""
            command = arguments(cell, None, resume=False, reports=reports)
            sent[task.remote(command, folder, cpus, gpus)] = cell
            notify(cell, Status("waiting", "in Ray"))
        while sent and not stop.requests:
            for reference in ray.wait(list(sent), timeout=POLL_SECONDS)[0]:
                cell = sent.pop(reference)
                try:
                    parcel = ray.get(reference)
                except (ray.exceptions.RayError, parcels.WorkerDied) as error:
                    reason = str(getattr(error, "cause", None) or error).strip().splitlines()
                    notify(cell, Status("failed", f"its worker died: {reason[0] if reason else type(error).__name__}"))
                else:
                    notify(cell, keep(parcel, cell, sweep))
        for reference, cell in sent.items():
            ray.cancel(reference, force=True)
            notify(cell, Status("stopped"))


def keep(parcel: parcels.Parcel, cell: Cell, sweep: Path) -> Status:
    """Puts what came back of a cell into its folder, and says how the cell ended."""
    run_dir = cell_folder(sweep, cell)
    if parcel.folder:
        coming = run_dir.with_name(f".{run_dir.name}.coming")
        shutil.rmtree(coming, ignore_errors=True)
        parcels.unpack(parcel.folder, coming)
        _add_commit(coming)
        shutil.rmtree(run_dir, ignore_errors=True)
        coming.rename(run_dir)
    log = log_path(run_dir)
    with log.open("ab") as file:
        file.write(parcel.log)
    if parcel.code == 0 and read_results(sweep, cell):
        return Status("finished")
    return Status("failed", last_error(log, parcel.code))


def _add_commit(run_dir: Path) -> None:
    """Adds the commit of the code, which travelled without its repository."""
    path = run_dir / "results.json"
    if path.is_file():
        results = run_directory.read_json(path)
        if results.get("commit") is None:
            run_directory.write_json(path, results | {"commit": provenance.commit()})


def _missing(ray: Any, cpus: float, gpus: float) -> str:
    """What a cell needs and no machine of the cluster has."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        return ""
    return f"{cpus:g} free cores" + (f" and {gpus:g} GPUs" if gpus else "")
