"""The sections of the report: functions from what was read to pieces of HTML in which all text is escaped."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.cli.tables import MEANS, READOUTS, means_text, readout_name
from experiments.reports.page import fact_list, notice, scrollable, value_text
from experiments.reports.table import Number, sortable_table
from experiments.training.config import flatten

FACTS = (
    ("task", "task"),
    ("model", "model"),
    ("preset", "preset"),
    ("seed", "seed"),
    ("steps", "training steps"),
    ("episodes", "training episodes"),
    ("parameters", "parameters"),
    ("wall_seconds", "wall time"),
    ("device", "device"),
    ("jax_version", "JAX version"),
    ("commit", "commit"),
)
COUNTS = ("steps", "episodes", "parameters")
# Metrics that have a unit other than per cent, and those whose name needs other words.
UNITS = {"seconds": "s", "sigma_px": "px", "entropy": "nats", "images_per_second": "images/s"}
WORDS = {
    "accuracy": "training accuracy",
    "validation_error": "validation error, mean probability",
    "validation_greedy_error": "validation error, greedy",
    "validation_sampled_error": "validation error, one episode",
    "grad_norm": "gradient norm",
    "param_norm": "parameter norm",
    "sigma_px": "sigma",
    "images_per_second": "speed",
    "seconds": "training time",
}


def duration(seconds: float) -> str:
    """`seconds` in words, in the two largest units: "2 d 3 h", "1 h 5 min", "3 min 20 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def plays_episodes(config: Mapping[str, Any] | None) -> bool:
    """Whether a run is of an agent, as its configuration says; also where that does not say."""
    model = (config or {}).get("model")
    return not isinstance(model, Mapping) or "policy" in model


def facts(values: Mapping[str, Any], plays: bool = True) -> str:
    """What the run was, as a list of those of `FACTS` that `values` holds; `wall_seconds` in words.

    Args:
      values: by their names.
      plays: whether the model plays episodes; else those are images.
    """
    items = []
    for key, name in FACTS if plays else [(key, name.replace("episodes", "images")) for key, name in FACTS]:
        value = values.get(key)
        if value is None or value == "":
            continue
        if key == "wall_seconds" and isinstance(value, (int, float)) and math.isfinite(value):
            text = duration(float(value))
        elif key in COUNTS and isinstance(value, int):
            text = f"{value:,}"
        else:
            text = value_text(value)
        items.append((name, text))
    return fact_list(items) if items else notice("Nothing is recorded about this run.")


def results_table(results: Mapping[str, Any] | None) -> str:
    """Errors with their 95% intervals, in per cent: a row for each read-out, columns for each split."""
    if results is None:
        return notice("There is no results.json: this run has not been evaluated yet.")
    splits = [split for split in ("validation", "test") if isinstance(results.get(split), Mapping)]
    present = {readout for split in splits for readout, value in results[split].items() if isinstance(value, Mapping)}
    rows = [key for key in READOUTS if key in present] + sorted(present - READOUTS.keys())
    if not rows:
        return notice("results.json holds no errors.")
    groups = "".join(f'<th colspan="3" scope="colgroup">{split}</th>' for split in splits)
    heads = '<th scope="col">error</th><th scope="col">95% interval</th><th scope="col">images</th>' * len(splits)
    body = []
    for key in rows:
        cells = "".join(_error_cells(results[split].get(key)) for split in splits)
        body.append(f'<tr><th scope="row">{escape(readout_name(key))}</th>{cells}</tr>')
    sequences = any("by_length" in results[split].get(key, ()) for split in splits for key in rows)
    caption = f"{'Error of whole sequences' if sequences else 'Classification error'} in per cent"
    episodes = _evaluation_episodes(results)
    if episodes is not None and any(key in MEANS for key in rows):
        caption += f"; {means_text(episodes)}"
    return scrollable(
        f'<table class="results"><caption>{caption}</caption>'
        f'<thead><tr><th rowspan="2" scope="col">read-out</th>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        caption,
    ) + _sequence_table({split: results[split] for split in splits}, rows)


def overlap_table(results: Mapping[str, Any] | None) -> str:
    """Tabulate how well boxes were found, a row a split (`experiments.evaluation.overlap`); empty for other runs."""
    found = (results or {}).get("overlap")
    if not isinstance(found, Mapping):
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(split)}</th>{_error_cells({**entry, "error": entry.get("found")})}'
        f"<td>{_per_cent(100 * entry['mean']) if _finite(entry.get('mean')) else '–'}</td></tr>"
        for split, entry in found.items()
        if isinstance(entry, Mapping)
    )
    caption = "Boxes that overlap the true ones by more than a half, and the mean overlap, in per cent"
    return scrollable(
        f'<table><caption>{caption}</caption><thead><tr><th scope="col">split</th>'
        '<th scope="col">found</th><th scope="col">95% interval</th><th scope="col">images</th>'
        f'<th scope="col">mean overlap</th></tr></thead><tbody>{rows}</tbody></table>',
        caption,
    )


def _sequence_table(splits: Mapping[str, Mapping[str, Any]], readouts: Sequence[str]) -> str:
    """Errors of symbols, of lengths and by length, of runs that read sequences; nothing of others."""
    known = [
        (split, key, entry)
        for split, methods in splits.items()
        for key in readouts
        if isinstance(entry := methods.get(key), Mapping) and isinstance(entry.get("by_length"), Mapping)
    ]
    if not known:
        return ""
    lengths = sorted({n for _, _, entry in known for n in entry["by_length"]}, key=lambda n: (len(n), n))
    header = ["read-out", "split", "symbols", "wrong length", *(f"length {n}" for n in lengths)]
    rows = [
        [readout_name(key), split, *(_error(entry.get(name)) for name in ("symbol", "end"))]
        + [_error(entry["by_length"].get(n)) for n in lengths]
        for split, key, entry in known
    ]
    caption = "Errors in detail, in per cent: of symbols, of the number of symbols, and of whole sequences by length"
    return sortable_table("sequences", caption, header, rows)


def _error(entry: Any) -> Number | None:
    value: Any = entry.get("error") if isinstance(entry, Mapping) else None
    return Number(value, f"{value:.2f}") if _finite(value) else None


def _evaluation_episodes(results: Mapping[str, Any]) -> int | None:
    """How many sampled episodes the means are of, by the run's configuration; None if it does not say."""
    value = results
    for key in ("config", "training", "eval_episodes"):
        value = value.get(key) if isinstance(value, Mapping) else None  # type: ignore[assignment]
    return value if isinstance(value, int) else None


def _error_cells(entry: Any) -> str:
    """The three cells of one result: error, interval, number of images; a dash for what is missing."""
    entry = entry if isinstance(entry, Mapping) else {}
    error, low, high = (_per_cent(entry.get(key)) for key in ("error", "low", "high"))
    interval = f"{low} to {high}" if entry.get("low") is not None and entry.get("high") is not None else "–"
    number = entry.get("n")
    images = f"{number:,}" if isinstance(number, int) else "–" if number is None else value_text(number)
    return f"<td><strong>{escape(error)}</strong></td><td>{escape(interval)}</td><td>{escape(images)}</td>"


def _per_cent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"


def training_table(metrics: Sequence[Mapping[str, Any]] | None, config: Mapping[str, Any] | None = None) -> str:
    """The last value of every metric, and the lowest validation error with its step where that chose the parameters."""
    if metrics is None:
        return notice("There is no metrics.jsonl: no training was recorded.")
    last: dict[str, tuple[Any, Any]] = {}
    for record in metrics:
        last.update({key: (value, record.get("step")) for key, value in record.items() if value is not None})
    if not last:
        return notice("metrics.jsonl holds no records.")
    plays = plays_episodes(config)
    rows = "".join(
        f'<tr><th scope="row">{escape(_metric_name(key, plays))}</th><td>{escape(_metric_text(key, value))}</td>'
        f"<td>{escape(value_text(step))}</td></tr>"
        for key, (value, step) in last.items()
        if key != "step"
    )
    training = (config or {}).get("training")
    chosen = training.get("keep_best", True) if isinstance(training, Mapping) else True
    tested = [record for record in metrics if chosen and _finite(record.get("validation_error"))]
    best = ""
    if tested:
        record = min(tested, key=lambda record: float(record["validation_error"]))
        step = escape(value_text(record.get("step")))
        best = f"<p>Lowest validation error {record['validation_error']:.2f}% at step {step}.</p>"
    table = scrollable(
        '<table><thead><tr><th scope="col">metric</th><th scope="col">value</th>'
        f'<th scope="col">step</th></tr></thead><tbody>{rows}</tbody></table>',
        "Last values of the metrics",
    )
    summary = f"Last values of the metrics, from {len(metrics):,} records"
    return f"{best}<details><summary>{summary}</summary>{table}</details>"


def _metric_name(key: str, plays: bool) -> str:
    """A metric's words and unit, such as "accuracy (%)"; of a model that plays no episodes an error is not of some."""
    unit = "%" if key == "accuracy" or key.endswith("error") else UNITS.get(key)
    words = WORDS.get(key, key.replace("_", " "))
    words = words if plays else words.partition(",")[0]
    return f"{words} ({unit})" if unit else words


def _metric_text(key: str, value: Any) -> str:
    """A metric's value in the unit of `_metric_name`: errors and accuracy to two places, others to four digits."""
    if key == "step" or not _finite(value) or isinstance(value, int):
        return value_text(value)
    if key == "accuracy":
        return f"{100 * value:.2f}"
    if key.endswith("error"):
        return f"{value:.2f}"
    return f"{value:.3g}" if key == "learning_rate" else f"{value:.4g}"


def configuration(config: Mapping[str, Any] | None) -> str:
    """Every setting of the nested `config` by its dotted name, in a table that can be searched."""
    if config is None:
        return notice("There is no config.json.")
    rows = [(key, value if _finite(value) else value_text(value)) for key, value in flatten(config)]
    return sortable_table("settings", "Every setting of the run", ["setting", "value"], rows)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
