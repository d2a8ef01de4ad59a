"""The sections of the report: functions from what was read to pieces of HTML in which all text is escaped."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from experiments.config import flatten

EPISODES_CAPTION = (
    "The numbered path of glimpses over each image, with the boxes of every scale of the retina, and the "
    "belief over classes after each glimpse; a triangle marks the true class."
)
ANIMATION_CAPTION = (
    "From top to bottom: the boxes of each glimpse and the path so far; everything the retina has seen so "
    "far, dark blue where it has not looked; the belief over classes, the true one on a green ground."
)
RETINA_CAPTION = (
    "Each glimpse painted into the frame of its image, and below it the bare patches, fine to coarse; dark "
    "blue was not seen."
)
# What is known of a figure, in the order of the report: file name without ending -> (heading, what it shows).
FIGURES = {
    "learning_curves": ("Learning curves", "Errors, losses and schedules over the steps of training."),
    "error_by_glimpse": ("Error after each glimpse", "Error of the belief after each glimpse."),
    "episodes": ("Episodes", EPISODES_CAPTION),
    "retina": ("What the retina saw", RETINA_CAPTION),
    "locations": ("Where the policy looks", "Share of images looked at in each place, by glimpse."),
    "confusion": (
        "Confusions",
        "True classes in rows, predicted in columns; colour is the share of the row.",
    ),
}
READOUTS = {
    "greedy": "greedy (mean locations)",
    "sampled": "one sampled episode",
    "average_probability": "several episodes, mean probability",
    "average_log_probability": "several episodes, mean log-probability",
}
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


def notice(text: str) -> str:
    """A paragraph that says what is missing."""
    return f'<p class="notice">{escape(text)}</p>'


def facts(values: Mapping[str, Any]) -> str:
    """What the run was, as a list of those of `FACTS` that `values` holds; `wall_seconds` in words."""
    items = []
    for key, name in FACTS:
        value = values.get(key)
        if value is None or value == "":
            continue
        if key == "wall_seconds" and isinstance(value, (int, float)) and math.isfinite(value):
            text = duration(float(value))
        elif key in COUNTS and isinstance(value, int):
            text = f"{value:,}"
        else:
            text = _text(value)
        items.append(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>")
    return f'<dl class="facts">{"".join(items)}</dl>' if items else notice("Nothing is recorded about this run.")


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
        name = READOUTS.get(key, key.replace("_", " "))
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        '<div class="scroll"><table class="results"><caption>Classification error in per cent</caption>'
        f'<thead><tr><th rowspan="2" scope="col">read-out</th>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _error_cells(entry: Any) -> str:
    """The three cells of one result: error, interval, number of images; a dash for what is missing."""
    entry = entry if isinstance(entry, Mapping) else {}
    error, low, high = (_per_cent(entry.get(key)) for key in ("error", "low", "high"))
    interval = f"{low} to {high}" if entry.get("low") is not None and entry.get("high") is not None else "–"
    number = entry.get("n")
    images = f"{number:,}" if isinstance(number, int) else "–" if number is None else _text(number)
    return f"<td><strong>{escape(error)}</strong></td><td>{escape(interval)}</td><td>{escape(images)}</td>"


def _per_cent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"


def training_table(metrics: Sequence[Mapping[str, Any]] | None) -> str:
    """The last value of every metric, and the lowest validation error with its step."""
    if metrics is None:
        return notice("There is no metrics.jsonl: no training was recorded.")
    last: dict[str, tuple[Any, Any]] = {}
    for record in metrics:
        last.update({key: (value, record.get("step")) for key, value in record.items() if value is not None})
    if not last:
        return notice("metrics.jsonl holds no records.")
    rows = "".join(
        f'<tr><th scope="row">{escape(key.replace("_", " "))}</th><td>{escape(_text(value))}</td>'
        f"<td>{escape(_text(step))}</td></tr>"
        for key, (value, step) in last.items()
        if key != "step"
    )
    tested = [record for record in metrics if _finite(record.get("validation_error"))]
    best = ""
    if tested:
        record = min(tested, key=lambda record: float(record["validation_error"]))
        step = escape(_text(record.get("step")))
        best = f"<p>Lowest validation error {record['validation_error']:.2f}% at step {step}.</p>"
    return (
        f"{best}<details><summary>Last values of the metrics, from {len(metrics):,} records</summary>"
        '<div class="scroll"><table><thead><tr><th scope="col">metric</th><th scope="col">value</th>'
        f'<th scope="col">step</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def figures(plots: Path) -> str:
    """Every PNG and GIF of the folder `plots`, embedded, with a heading, alternative text and a caption."""
    files = [path for path in plots.glob("*") if path.suffix.lower() in (".png", ".gif") and path.name[0] != "."]
    order = list(FIGURES)
    files.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.name))
    return "".join(_figure(path) for path in files) or notice("There are no figures in the folder plots.")


def _figure(path: Path) -> str:
    """One embedded picture; an animation can be folded away."""
    data, moving = path.read_bytes(), path.suffix.lower() == ".gif"
    heading, caption = FIGURES.get(path.stem, (path.stem.replace("_", " ").capitalize(), f"The file {path.name}."))
    if moving:
        heading = f"{heading}, animated"
        if path.stem == "episodes":
            caption = ANIMATION_CAPTION
    with PillowImage.open(io.BytesIO(data)) as picture:
        width, height = picture.size
    kind = "gif" if moving else "png"
    image = (
        f'<figure><img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" width="{width}" '
        f'height="{height}" alt="{escape(f"{heading}. {caption}")}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
    if moving:
        return f"<details open><summary><h3>{escape(heading)}</h3></summary>{image}</details>"
    return f"<h3>{escape(heading)}</h3>{image}"


def configuration(config: Mapping[str, Any] | None) -> str:
    """Every setting of the nested `config` by its dotted name, with a search box where scripts run."""
    if config is None:
        return notice("There is no config.json.")
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(key)}</code></th><td><code>{escape(_text(value))}</code></td></tr>'
        for key, value in flatten(config)
    )
    return (
        '<p id="search" class="control" hidden><label for="search-text">Search the settings</label> '
        '<input id="search-text" type="search" autocomplete="off"> '
        '<output id="search-count" for="search-text"></output></p>'
        '<div class="scroll"><table id="settings"><thead><tr><th scope="col">setting</th>'
        f'<th scope="col">value</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _text(value: Any) -> str:
    """`value` as a reader wants it: text as it is, long fractions to six digits, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)
