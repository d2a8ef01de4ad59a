"""The table of results: the command of each run, its errors, and the page in step with the files."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments import results_table
from experiments.config import to_json
from experiments.presets import RAM_PRESETS

ROOT = Path(__file__).parents[2]


def results(**changes) -> dict:
    entry = {"error": 4.0, "low": 3.5, "high": 4.5, "n": 10_000}
    methods = ("greedy", "sampled", "average_probability", "average_log_probability")
    return {
        "task": "cluttered60",
        "model": "ram",
        "preset": "cluttered60",
        "config": to_json(RAM_PRESETS["cluttered60"][1]),
        "seed": 0,
        "commit": "0123456789abcdef",
        "device": "CPU",
        "jax_version": "0",
        "wall_seconds": 120.0,
        "steps": 10,
        "episodes": 1_280_000,
        "parameters": 1234,
        "validation": dict.fromkeys(methods, entry),
        "test": dict.fromkeys(methods, entry),
    } | changes


def test_the_command_is_the_preset_and_the_flags_that_differ_from_it() -> None:
    assert results_table.command(results()) == "python -m experiments.ram cluttered60"
    preset = RAM_PRESETS["cluttered60"][1]
    policy = dataclasses.replace(preset.model.policy, policy="random", learned_sigma="global")
    training = dataclasses.replace(preset.training, keep_best=False)
    changed = dataclasses.replace(
        preset,
        data=dataclasses.replace(preset.data, data="my digits"),
        model=dataclasses.replace(preset.model, policy=policy),
        training=training,
    )
    command = results_table.command(results(config=to_json(changed)))
    flags = "--data 'my digits' --policy random --learned-sigma global --no-keep-best"
    assert command == f"python -m experiments.ram cluttered60 {flags}"


def test_a_row_for_each_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(results(task=name)))
    lines = results_table.table(tmp_path).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| a", "| b"]
    assert "4.00 [3.50, 4.50]" in lines[2]
    assert "1.28 M" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="broken.json"):
        results_table.table(tmp_path)
    (tmp_path / "broken.json").write_text(json.dumps(results(config="none")))
    with pytest.raises(ValueError, match="broken.json"):
        results_table.table(tmp_path)


def test_the_page_is_in_step_with_the_files() -> None:
    page = (ROOT / "results" / "README.md").read_text()
    inside = page.partition(results_table.BEGIN)[2].partition(results_table.END)[0].strip()
    assert inside == results_table.table(ROOT / "results").strip()
