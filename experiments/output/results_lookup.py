"""Our best stored result of a preset, for its help. It imports nothing heavy."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

INDEX = Path(__file__).parents[2] / "results" / "index.json"


class BestResult(NamedTuple):
    """A stored result of a preset as it stands, on the test set.

    Attributes:
      error, low, high: in per cent, with the 95% interval: over seeds, of one seed over test images.
      readout: the name of the read-out, such as "mean of ten"; "boxes not found" of co-localisation.
      minutes: mean wall time of a run.
      device: that it ran on.
      seeds: how many runs the error is the mean of.
    """

    error: float
    low: float
    high: float
    readout: str
    minutes: float
    device: str
    seeds: int


def best_result(family: str, preset: str, index: Path = INDEX) -> BestResult | None:
    """Return the stored result of a preset, of several the one with the lowest validation error.

    It counts runs without flags that change the training.

    Args:
      family: `ram`, `dram`, `stn`, `soft_attention`, `colocalisation` or `cnn`.
      preset: its name.
      index: `results/index.json` of the repository.

    Returns:
      None where nothing was run, or where the repository's results are not installed.
    """
    entries = [
        entry
        for entry in _entries(index)
        if entry["family"] == family and entry["preset"] == preset and entry["is_preset"]
    ]
    if not entries:
        return None
    best = min(entries, key=lambda entry: entry["validation"])
    numbers = {key: best[key] for key in ("error", "low", "high", "readout", "minutes", "device")}
    return BestResult(**numbers, seeds=len(best["seeds"]))


def describe_result(family: str, preset: str, index: Path = INDEX) -> str:
    """Describe our best stored result of a preset in a sentence, or say that there is none.

    Without the repository's results, as in an installed package, the sentence is empty.
    """
    if not index.is_file():
        return ""
    result = best_result(family, preset, index)
    if result is None:
        known = any(entry["family"] == family and entry["preset"] == preset for entry in _entries(index))
        return "Run with other settings only: see results/." if known else "Not run yet."
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    measure = result.readout if result.readout.startswith("boxes") else f"error, {result.readout}"
    return f"Ours: {result.error:.2f}% {measure} ({seeds}, {result.minutes:.0f} min, {result.device})."


@cache
def _entries(index: Path) -> list[dict[str, Any]]:
    return json.loads(index.read_text()) if index.is_file() else []
