"""Contents of the page of a run as plain data: facts, tables of errors, training and the configuration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.output.readouts import MEANS, READOUTS, SINGLE_PASS, readout_name
from experiments.output.text import duration
from experiments.pages.table import MISSING, Number, Table, sortable_table, value_text
from experiments.training.config import flatten

FACTS = (
    ("task", "task"),
    ("family", "family"),
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
# Units of metrics other than per cent, and metrics whose name needs other words.
UNITS = {"seconds": "s", "sigma_px": "px", "entropy": "nats", "images_per_second": "images/s"}
WORDS = {
    "accuracy": "training accuracy",
    "grad_norm": "gradient norm",
    "param_norm": "parameter norm",
    "sigma_px": "sigma",
    "images_per_second": "speed",
    "seconds": "training time",
}
# Validation errors and their read-outs.
VALIDATION = {
    "validation_error": "average_probability",
    "validation_greedy_error": "greedy",
    "validation_sampled_error": "sampled",
}


class ErrorCells(NamedTuple):
    """One error as text: the error, its 95% interval and the number of images."""

    error: str
    interval: str
    images: str


class ErrorTable(NamedTuple):
    """Errors of a run: for each read-out its name and its cells for each split."""

    caption: str
    splits: list[str]
    rows: list[tuple[str, list[ErrorCells]]]


class TextTable(NamedTuple):
    """A table of text; the first cell of a row names it."""

    caption: str
    headings: list[str]
    rows: list[list[str]]


class Training(NamedTuple):
    """The recorded training: a sentence about the best step, a summary, and metrics as (name, value, step)."""

    best: str
    summary: str
    rows: list[tuple[str, str, str]]


def plays_episodes(config: Mapping[str, Any] | None) -> bool:
    """Return True if the configuration is of an agent that plays episodes, or if it is unknown."""
    model = (config or {}).get("model")
    return not isinstance(model, Mapping) or "policy" in model


def facts(values: Mapping[str, Any], plays: bool = True) -> list[tuple[str, str]]:
    """List the known entries of `FACTS` as (name, text).

    Args:
      values: by the names of `results.json`.
      plays: True if the model plays episodes; the training episodes of other models are images.
    """
    items = []
    for key, name in FACTS:
        value = values.get(key)
        if value is None or value == "":
            continue
        if key == "wall_seconds" and _finite(value):
            text = duration(float(value))
        elif key in COUNTS and isinstance(value, int):
            text = f"{value:,}"
        else:
            text = value_text(value)
        items.append((name if plays else name.replace("episodes", "images"), text))
    return items


def error_table(results: Mapping[str, Any]) -> ErrorTable | None:
    """Tabulate the errors of a run in per cent, a row for each read-out; None if there are none."""
    splits, readouts = _errors(results)
    if not readouts:
        return None
    episodes = _setting(results.get("config"), "training", "eval_episodes")
    means = any(key in MEANS for key in readouts)
    rows = [
        (
            readout_name(key, episodes) if len(readouts) > 1 else SINGLE_PASS,
            [_error_cells(splits[split].get(key)) for split in splits],
        )
        for key in readouts
    ]
    sequences = any("by_length" in splits[split].get(key, ()) for split in splits for key in readouts)
    caption = f"{'Error of whole sequences' if sequences else 'Classification error'} in per cent"
    if means and episodes is not None:
        caption += f"; means are of {episodes:,} sampled episode{'s' * (episodes != 1)}"
    return ErrorTable(caption, list(splits), rows)


def diagnosis_table(diagnosis: Mapping[str, Any] | None) -> TextTable | None:
    """Return the error of a diagnosis by the way in which locations are chosen; None without a diagnosis."""
    if diagnosis is None:
        return None
    names, rows = diagnosis["names"], []
    for way, entry in diagnosis["by_locations"].items():
        interval = f"{entry['low']:.2f} to {entry['high']:.2f}"
        rows.append([names[way], f"{entry['error']:.2f}", interval, f"{entry['n']:,}"])
    caption = (
        f"Diagnosis after step {diagnosis['after_step']}: error in per cent on the {diagnosis['split']} images; "
        f"probabilities of {diagnosis['episodes']} episodes"
    )
    return TextTable(caption, ["locations", "error", "95% interval", "images"], rows)


def sequence_table(results: Mapping[str, Any]) -> Table | None:
    """Tabulate the errors of symbols, of lengths and by length; None for runs that read single classes."""
    splits, readouts = _errors(results)
    episodes = _setting(results.get("config"), "training", "eval_episodes")
    known = [
        (split, key, entry)
        for split, methods in splits.items()
        for key in readouts
        if isinstance(entry := methods.get(key), Mapping) and isinstance(entry.get("by_length"), Mapping)
    ]
    if not known:
        return None
    lengths = sorted({n for _, _, entry in known for n in entry["by_length"]}, key=lambda n: (len(n), n))
    header = ["read-out", "split", "symbols", "wrong length", *(f"length {n}" for n in lengths)]
    rows = [
        [readout_name(key, episodes), split, *(_error(entry.get(name)) for name in ("symbol", "end"))]
        + [_error(entry["by_length"].get(n)) for n in lengths]
        for split, key, entry in known
    ]
    caption = "Errors in detail, in per cent: of symbols, of the number of symbols, and of whole sequences by length"
    return sortable_table("sequences", caption, header, rows)


def overlap_table(results: Mapping[str, Any] | None) -> TextTable | None:
    """Tabulate the boxes that a co-localiser found, a row for each split; None for other runs."""
    overlap = (results or {}).get("overlap")
    if not isinstance(overlap, Mapping):
        return None
    rows = []
    for split, entry in overlap.items():
        if isinstance(entry, Mapping):
            mean = _per_cent(100 * entry["mean"]) if _finite(entry.get("mean")) else MISSING
            rows.append([split, *_error_cells({**entry, "error": entry.get("found")}), mean])
    caption = "Boxes that overlap the true ones by more than a half, and the mean overlap, in per cent"
    return TextTable(caption, ["split", "found", "95% interval", "images", "mean overlap"], rows)


def training_table(metrics: Sequence[Mapping[str, Any]] | None, config: Mapping[str, Any] | None) -> Training | None:
    """Return the last value of every metric, and the step of the selected parameters; None without records."""
    if metrics is None:
        return None
    last: dict[str, tuple[Any, Any]] = {}
    for record in metrics:
        last.update({key: (value, record.get("step")) for key, value in record.items() if value is not None})
    # A model that is stochastic has an error by each read-out; others have a single pass.
    stochastic, episodes = "validation_greedy_error" in last, _setting(config, "training", "validation_episodes")
    rows = [
        (_metric_name(key, stochastic, episodes), _metric_text(key, value), value_text(step))
        for key, (value, step) in last.items()
        if key != "step"
    ]
    selects = _setting(config, "training", "keep_best", default=True)
    validated = [record for record in metrics if selects and _finite(record.get("validation_error"))]
    best = ""
    if validated:
        record = min(validated, key=lambda record: float(record["validation_error"]))
        best = f"Lowest validation error {record['validation_error']:.2f}% at step {value_text(record.get('step'))}."
    return Training(best, f"Last values of the metrics, from {len(metrics):,} records", rows)


def configuration_table(config: Mapping[str, Any] | None) -> Table | None:
    """Tabulate every setting by its dotted name; None if the configuration is unknown."""
    if config is None:
        return None
    rows = [(key, value if _finite(value) else value_text(value)) for key, value in flatten(config)]
    return sortable_table("settings", "Every setting of the run", ["setting", "value"], rows)


def _errors(results: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the errors by split, and the read-outs that any split has, in the order of `READOUTS`."""
    splits = {split: results[split] for split in ("validation", "test") if isinstance(results.get(split), Mapping)}
    present = {key for entries in splits.values() for key, value in entries.items() if isinstance(value, Mapping)}
    return splits, [key for key in READOUTS if key in present] + sorted(present - READOUTS.keys())


def _setting(config: Any, *keys: str, default: Any = None) -> Any:
    """Return a setting of a nested configuration, or the default where it has none."""
    for key in keys:
        if not isinstance(config, Mapping) or key not in config:
            return default
        config = config[key]
    return config


def _error(entry: Any) -> Number | None:
    value: Any = entry.get("error") if isinstance(entry, Mapping) else None
    return Number(value, f"{value:.2f}") if _finite(value) else None


def _error_cells(entry: Any) -> ErrorCells:
    """Return one error as text, with a dash for what is missing."""
    entry = entry if isinstance(entry, Mapping) else {}
    error, low, high = (_per_cent(entry.get(key)) for key in ("error", "low", "high"))
    interval = f"{low} to {high}" if MISSING not in (low, high) else MISSING
    number = entry.get("n")
    images = f"{number:,}" if isinstance(number, int) else MISSING if number is None else value_text(number)
    return ErrorCells(error, interval, images)


def _per_cent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else MISSING


def _metric_name(key: str, stochastic: bool, episodes: int | None) -> str:
    """Return a metric's words and unit, such as "accuracy (%)"; errors of stochastic models name their read-out."""
    unit = "%" if key == "accuracy" or key.endswith("error") else UNITS.get(key)
    if key in VALIDATION:
        words = "validation error" + (f", {readout_name(VALIDATION[key], episodes)}" if stochastic else "")
    else:
        words = WORDS.get(key, key.replace("_", " "))
    return f"{words} ({unit})" if unit else words


def _metric_text(key: str, value: Any) -> str:
    """Return a metric's value in the unit of `_metric_name`."""
    if key == "step" or not _finite(value) or isinstance(value, int):
        return value_text(value)
    if key == "accuracy":
        return f"{100 * value:.2f}"
    if key.endswith("error"):
        return f"{value:.2f}"
    return f"{value:.3g}" if key == "learning_rate" else f"{value:.4g}"


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
