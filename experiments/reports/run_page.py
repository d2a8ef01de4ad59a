"""One self-contained HTML page about a run: its facts, results, figures, episodes and configuration."""

import json
from pathlib import Path
from typing import Any

from experiments.plots.style import write_bytes
from experiments.reports.episodes import Episodes, read_episodes, write_episodes
from experiments.reports.figures import figures
from experiments.reports.page import Section, embedded_json, notice, page, part
from experiments.reports.sections import (
    configuration,
    facts,
    overlap_table,
    plays_episodes,
    results_table,
    training_table,
)
from experiments.reports.table import SCRIPT

__all__ = ["Episodes", "read_episodes", "write_episodes", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into the folder of a run and returns its path.

    The page is made of what the folder holds: `config.json`, `results.json` (errors in per cent),
    `metrics.jsonl`, `plots/*.png`, `plots/*.gif` and `plots/episodes.json` (see `write_episodes`); it says so
    where one is missing. It needs no other file and no network, and its text is escaped.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: one of the files is not what it should be; the message names it.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"no run in {str(run_dir)!r}")
    config = _read_json(run_dir / "config.json")
    results = _read_json(run_dir / "results.json")
    metrics = _read_records(run_dir / "metrics.jsonl")
    known = {**(config or {}), **{key: value for key, value in (results or {}).items() if value is not None}}
    if metrics and "steps" not in known:
        known["steps"] = max((record["step"] for record in metrics if "step" in record), default=None)
    if isinstance(known.get("config"), dict):
        config = known["config"]
    episodes = _read_json(run_dir / "plots" / "episodes.json")
    plays = plays_episodes(config)
    shown = [
        Section(
            "results", "Results", overlap_table(results) + results_table(results) + training_table(metrics, config)
        ),
        *([Section("episodes", "Episodes", _viewer(episodes))] if plays else []),
        Section("figures", "Figures", figures(run_dir / "plots", "glimpses_per_symbol" in (episodes or {}))),
        Section("configuration", "Configuration", configuration(config)),
    ]
    text = page(
        _title(known, run_dir),
        run_dir.resolve().name,
        facts(known, plays),
        shown,
        scripts=[SCRIPT, "viewer.js"],
    )
    return write_bytes(run_dir / "report.html", text.encode())


def _title(known: dict[str, Any], run_dir: Path) -> str:
    """The model and the task if they are known, else the name of the folder."""
    names = [str(known[key]) for key in ("model", "task") if isinstance(known.get(key), str) and known[key]]
    return " on ".join(names) or run_dir.resolve().name


def _viewer(episodes: dict[str, Any] | None) -> str:
    """The episode viewer with its data, or a notice where there are none."""
    if episodes is None:
        return notice("There is no plots/episodes.json: no episodes were kept for the viewer.")
    return part("viewer.html") + embedded_json("episodes-data", episodes)


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None if there is no file."""
    return _object(path.read_text(), str(path)) if path.exists() else None


def _read_records(path: Path) -> list[dict[str, Any]] | None:
    """The records of a JSONL file, or None if there is none; a last line cut short is left out."""
    if not path.exists():
        return None
    text = path.read_text()
    lines = text.splitlines()
    if lines and not text.endswith("\n") and not _is_json(lines[-1]):
        lines.pop()
    return [_object(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _object(text: str, place: str) -> dict[str, Any]:
    """The JSON object that `text` spells; anything else is an error that names the `place`."""
    content = json.loads(text) if _is_json(text) else None
    if isinstance(content, dict):
        return content
    raise ValueError(f"{place} must be a JSON object, not {text[:60]!r}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
