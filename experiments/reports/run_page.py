"""The page of a run: one self-contained HTML file with its facts, results, figures, episodes and configuration."""

import json
from pathlib import Path
from typing import Any

from experiments.files import write_bytes
from experiments.reports.figures import run_figures
from experiments.reports.page import render_page
from experiments.reports.sections import (
    configuration_table,
    diagnosis_table,
    error_table,
    facts,
    overlap_table,
    plays_episodes,
    sequence_table,
    training_table,
)
from experiments.reports.table import SCRIPT

SECTIONS = {"results": "Results", "episodes": "Episodes", "figures": "Figures", "configuration": "Configuration"}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory and return its path.

    The page is made of `config.json`, `results.json` (errors in per cent), `metrics.jsonl`, `plots/*.png`,
    `plots/*.gif` and `plots/episodes.json` (see `experiments.reports.episodes`). It says which of them are missing. It
    needs no other file and no network.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: one of the files is damaged; names the file.
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
    text = render_page(
        "run.html",
        _title(known, run_dir),
        run_dir.resolve().name,
        {name: heading for name, heading in SECTIONS.items() if plays or name != "episodes"},
        scripts=[SCRIPT, "viewer.js"],
        facts=facts(known, plays),
        overlap=overlap_table(results),
        diagnosis=diagnosis_table(_read_json(run_dir / "diagnosis.json")),
        evaluated=results is not None,
        errors=error_table(results or {}),
        sequences=sequence_table(results or {}),
        training=training_table(metrics, config),
        episodes=episodes,
        figures=run_figures(run_dir / "plots", "glimpses_per_symbol" in (episodes or {})),
        configuration=configuration_table(config),
    )
    return write_bytes(run_dir / "report.html", text.encode())


def _title(known: dict[str, Any], run_dir: Path) -> str:
    """Return the model and the task if they are known, else the name of the folder."""
    names = [str(known[key]) for key in ("family", "task") if isinstance(known.get(key), str) and known[key]]
    return " on ".join(names) or run_dir.resolve().name


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no file."""
    return _parse_object(path.read_text(), str(path)) if path.exists() else None


def _read_records(path: Path) -> list[dict[str, Any]] | None:
    """Return the records of a JSONL file without a last line cut short, or None if there is no file."""
    if not path.exists():
        return None
    text = path.read_text()
    lines = text.splitlines()
    if lines and not text.endswith("\n") and not _is_json(lines[-1]):
        lines.pop()
    return [_parse_object(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parse_object(text: str, place: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
      ValueError: the text is no JSON object; names its place.
    """
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
