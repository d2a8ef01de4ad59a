"""A whole sweep, from its plan to its report."""

import functools
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.data.extras import require_extra
from common.data.tasks import find_task
from experiments.cli.command_line import user_errors
from experiments.cli.console import console
from experiments.cli.device import require_device_of_children
from experiments.cli.stopping import Stop
from experiments.sweeps import local, ray_cluster
from experiments.sweeps.cells import validate
from experiments.sweeps.directory import cell_folder, count_other_cells, is_continued, open_sweep, read_results
from experiments.sweeps.launchers import Execute
from experiments.sweeps.logs import log_path
from experiments.sweeps.options import Options
from experiments.sweeps.progress import Board
from experiments.sweeps.report import write_report
from experiments.sweeps.study import Plan, Study, make_plan
from experiments.training.config import load_dataset


def use_cpu() -> None:
    """Keep this process, which trains nothing, on the CPU: it leaves the memory of a GPU to the cells."""
    jax.config.update("jax_platforms", "cpu")


def launcher(options: Options) -> Execute:
    """Return the launcher that the options name.

    Raises:
      ValueError: Ray is not installed.
    """
    if options.launcher == "ray":
        require_extra("launcher 'ray'", "Ray", "ray", "ray")
        return functools.partial(
            ray_cluster.execute,
            address=options.ray_address,
            cpus=options.cpus,
            gpus=options.gpus,
            retries=options.retries,
            reports=options.cell_reports,
        )
    return functools.partial(local.execute, jobs=options.jobs, reports=options.cell_reports, together=options.together)


def run_sweep(study: Study, options: Options, resume_with: str) -> int:
    """Run the unfinished cells of a study and report on all cells.

    Args:
      study: the fields and their values.
      options: the launcher and its options.
      resume_with: the command that resumes the sweep, for messages.

    Returns:
      The exit status: 0, 1 if a cell failed, 130 after Ctrl-C, SIGTERM or SIGHUP. Bad input exits with one line and
      status 2.
    """
    with user_errors():
        if options.launcher == "local" and not options.dry_run:
            require_device_of_children()
        plan = make_plan(study)
        execute = launcher(options)
        folder = options.sweep_dir or Path("runs") / f"ablate-{plan.name}"
        validate(plan.cells, plan.describe, functools.partial(is_continued, folder))
    if options.dry_run:
        _list_cells(plan)
        return 0
    if options.launcher == "local":
        with user_errors():
            _render_once(plan, folder)
    # Ray returns the folder of a run only when its process ends.
    lost = "Ray discards the progress of running cells since they were sent"
    effect = lost if options.launcher == "ray" else "running cells save their state after a chunk of steps"

    def announce(number: int) -> None:
        console.print(f"stopping: {effect}; press Ctrl-C again to stop at once", soft_wrap=True)

    with Stop(announce) as stop, user_errors(), open_sweep(folder, plan):
        with Board(plan, folder, console) as board:
            waiting = board.waiting()
            others = count_other_cells(folder, plan)
            others_text = f"; {others} finished cells of other settings stay in the folder" if others else ""
            finished = len(plan.cells) - len(waiting)
            console.print(f"{folder}: {len(plan.cells)} cells, {finished} finished before{others_text}", soft_wrap=True)
            if waiting:
                execute(waiting, folder, board.notify, stop)
        page = write_report(folder, plan, board.failures())
        Console().print(board.table())
    print(f"report: {page}")
    for cell, reason in board.failures():
        log = log_path(cell_folder(folder, cell))
        console.print(Text(f"failed: {plan.describe(cell)}: {reason} (log: {log})", "red"), soft_wrap=True)
    if stop.requests and board.waiting():
        console.print(f"stopped; resume with: {resume_with}", soft_wrap=True)
        return 130
    return 1 if board.failures() else 0


def _render_once(plan: Plan, folder: Path) -> None:
    """Render the house numbers of unfinished cells once, before several cells start at the same time."""
    for data in {cell.config.data for cell in plan.cells if read_results(folder, cell) is None}:
        if find_task(data.task).numbers is not None:
            load_dataset(data)


def _list_cells(plan: Plan) -> None:
    table = Table(title=f"{len(plan.cells)} cells of {plan.study.family} {plan.study.preset}")
    for name in (*plan.names, "seed", "cell"):
        table.add_column(name, justify="right")
    for cell in plan.cells:
        table.add_row(*(Text(str(value)) for value in (*plan.values(cell), cell.seed, cell.id)))
    Console().print(table)
