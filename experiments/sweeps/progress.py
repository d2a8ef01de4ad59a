"""The display of a running sweep: a live table where a person watches, plain lines elsewhere."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.output.text import duration
from experiments.sweeps.cells import Cell
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.launchers import Status
from experiments.sweeps.outcomes import Setting, group_settings, read_outcome, read_outcomes, write_tables
from experiments.sweeps.statistics import mean_interval
from experiments.sweeps.study import Plan
from experiments.training.metrics_file import read_metrics


class Board:
    """The statuses of all cells; displays them, and keeps the tables of the folder up to date.

    Args:
      plan: the plan of the sweep.
      sweep: the folder of the sweep.
      console: the console to display on.
    """

    def __init__(self, plan: Plan, sweep: Path, console: Console):
        self._plan, self._sweep, self._console = plan, sweep, console
        self._outcomes = {outcome.cell.id: outcome for outcome in read_outcomes(sweep, plan)}
        self.statuses = {cell.id: Status("waiting") for cell in plan.cells}
        self.statuses |= {cell_id: Status("finished") for cell_id in self._outcomes}
        self._start_times: dict[str, float] = {}
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Board":
        if self._console.is_interactive:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_interactive:
            self._live.stop()

    def waiting(self) -> list[Cell]:
        """Return the cells that are not finished."""
        return [cell for cell in self._plan.cells if self.statuses[cell.id].state != "finished"]

    def failures(self) -> list[tuple[Cell, str]]:
        """Return the cells that failed, with the reasons."""
        statuses = [(cell, self.statuses[cell.id]) for cell in self._plan.cells]
        return [(cell, status.detail) for cell, status in statuses if status.state == "failed"]

    def settings(self) -> list[Setting]:
        """Return the settings with their outcomes so far."""
        return group_settings(self._plan, list(self._outcomes.values()))

    def notify(self, cell: Cell, status: Status) -> None:
        """Record and display the new status of a cell."""
        if self.statuses[cell.id] == status:
            return
        self.statuses[cell.id] = status
        message = f"{self._plan.describe(cell)}: {status.state}"
        if status.state == "running":
            self._start_times[cell.id] = time.monotonic()
        if status.state == "finished" and (outcome := read_outcome(self._sweep, self._plan, cell)):
            # A new dictionary, since the live table reads the old one in its own thread.
            self._outcomes = self._outcomes | {cell.id: outcome}
            outcomes = [self._outcomes[cell.id] for cell in self._plan.cells if cell.id in self._outcomes]
            write_tables(self._sweep, self._plan, outcomes)
            message += f", test error {outcome.error():.2f}%"
            if cell.id in self._start_times:
                message += f", in {duration(time.monotonic() - self._start_times[cell.id])}"
        if status.detail:
            message += f" {status.detail}" if status.state == "waiting" else f": {status.detail}"
        if status.state in ("finished", "failed"):
            ended = sum(s.state in ("finished", "failed") for s in self.statuses.values())
            message = f"[{ended}/{len(self.statuses)}] {message}"
        if not self._console.is_interactive or status.state in ("failed", "stopped"):
            self._console.print(Text(message, "red" if status.state == "failed" else ""), soft_wrap=True)

    def summary(self) -> str:
        """Return the number of cells in each state, as text."""
        counts = Counter(status.state for status in self.statuses.values())
        parts = [f"{counts[state]} {state}" for state in ("finished", "running", "failed", "stopped", "waiting")]
        return f"{len(self.statuses)} cells: " + ", ".join(part for part in parts if not part.startswith("0 "))

    def table(self) -> RenderableType:
        """Return a table with a row for each setting."""
        table = Table(title="test error in per cent, mean over seeds [95% t interval]")
        for name in self._plan.names or ("setting",):
            table.add_column(name, justify="right")
        for name in ("test error", "validation error", "seeds"):
            table.add_column(name, justify="right")
        table.add_column("now", overflow="fold")
        for setting in self.settings():
            errors = [mean_interval(list(setting.by_seed(split).values())) for split in ("test", "validation")]
            texts = [str(error) if error else "-" for error in errors]
            count = f"{len(setting.outcomes)}/{len(setting.cells)}"
            values = [str(value) for value in setting.values] or [self._plan.study.preset]
            cells = [Text(text) for text in (*values, *texts, count, self._now(setting))]
            table.add_row(*cells)
        return Group(table, Text(self.summary()))

    def _now(self, setting: Setting) -> str:
        """Describe the running and failed cells of a setting."""
        texts = []
        for cell in setting.cells:
            state, detail = self.statuses[cell.id]
            if state == "running":
                records = read_metrics(cell_folder(self._sweep, cell))
                fraction = records[-1]["step"] / cell.config.training.steps if records else 0.0
                texts.append(f"seed {cell.seed} at {fraction:.0%}")
            elif state in ("failed", "stopped") or detail:
                texts.append(f"seed {cell.seed} {state}: {detail}" if detail else f"seed {cell.seed} {state}")
        return "; ".join(texts)
