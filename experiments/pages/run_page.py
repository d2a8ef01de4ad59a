"""The page of a run: one self-contained HTML file with its facts, results, figures, episodes and configuration."""

from pathlib import Path
from typing import Any

from common.user_files import reading
from experiments.output.files import write_bytes
from experiments.pages.figures import run_figures
from experiments.pages.page import render_page
from experiments.pages.sections import (
    configuration_table,
    diagnosis_table,
    error_table,
    facts,
    overlap_table,
    plays_episodes,
    sequence_table,
    training_table,
)
from experiments.pages.table import SCRIPT
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json

SECTIONS = {"results": "Results", "episodes": "Episodes", "figures": "Figures", "configuration": "Configuration"}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory and return its path.

    The page is made of `config.json`, `results.json` (errors in per cent), `metrics.jsonl`, `plots/*.png`,
    `plots/*.gif` and `plots/episodes.json` (see `experiments.plots.episode_files`). It names those that are missing. It
    needs no other file and no network.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: one of the JSON files, or a line of the metrics but the last, is damaged; names the file.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"no run in {str(run_dir)!r}")
    files = (run_dir / name for name in ("config.json", "results.json", "plots/episodes.json", "diagnosis.json"))
    config, results, episodes, diagnosis = (read_json(path) if path.exists() else None for path in files)
    metrics = read_metrics(run_dir) if (run_dir / "metrics.jsonl").exists() else None
    known = {**(config or {}), **{key: value for key, value in (results or {}).items() if value is not None}}
    if metrics and "steps" not in known:
        known["steps"] = metrics[-1]["step"]
    if isinstance(known.get("config"), dict):
        config = known["config"]
    plays = plays_episodes(config)
    shows = plays or episodes is not None
    with reading(f"{str(run_dir / 'results.json')!r} cannot be shown"):
        measured = {
            "overlap": overlap_table(results),
            "errors": error_table(results or {}),
            "sequences": sequence_table(results or {}),
        }
    with reading(f"{str(run_dir / 'diagnosis.json')!r} cannot be shown, delete it or run experiments.diagnose again"):
        diagnosed = diagnosis_table(diagnosis)
    named = "results.json" if "config" in (results or {}) else "config.json"
    with reading(f"{str(run_dir / named)!r} cannot be shown"):
        configured = {
            "facts": facts(known, plays),
            "training": training_table(metrics, config),
            "configuration": configuration_table(config),
        }
    text = render_page(
        "run.html",
        _title(known, run_dir),
        run_dir.resolve().name,
        {name: heading for name, heading in SECTIONS.items() if shows or name != "episodes"},
        scripts=[SCRIPT, "viewer.js"],
        diagnosis=diagnosed,
        evaluated=results is not None,
        **measured,
        episodes=episodes,
        figures=run_figures(run_dir / "plots", "glimpses_per_target" in (episodes or {})),
        **configured,
    )
    return write_bytes(run_dir / "report.html", text.encode())


def _title(known: dict[str, Any], run_dir: Path) -> str:
    """Return the model and the task if they are known, else the name of the folder."""
    names = [str(known[key]) for key in ("family", "task") if isinstance(known.get(key), str) and known[key]]
    return " on ".join(names) or run_dir.resolve().name
