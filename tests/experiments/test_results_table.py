"""The table of results: the command of each run, its errors, and the page in step with the files."""

import dataclasses
import json
from pathlib import Path

import pytest

from common.training.evaluation import METHODS
from experiments import results_table
from experiments.cli.command_line import parse_preset
from experiments.cli.tables import READOUTS
from experiments.families.colocalisation import PRESETS as COLOCALISATION_PRESETS
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.training.config import to_json

ROOT = Path(__file__).parents[2]


def results(**changes) -> dict:
    entry = {"error": 4.0, "low": 3.5, "high": 4.5, "n": 10_000}
    methods = ("greedy", "sampled", "average_probability", "average_log_probability")
    return {
        "task": "cluttered60",
        "family": "ram",
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


def test_a_field_that_there_was_not_yet_had_its_default() -> None:
    config = to_json(RAM_PRESETS["cluttered60"][1])
    del config["model"]["estimator"]["reward"]
    assert results_table.command(results(config=config)) == "python -m experiments.ram cluttered60 --reward correct"


def test_what_was_found_stands_beside_what_was_read_in_it() -> None:
    found = {"found": 99.0, "low": 98.5, "high": 99.25, "n": 10_000, "mean": 0.7}
    preset = to_json(COLOCALISATION_PRESETS["T84"][1])
    run = results(family="colocalisation", preset="T84", config=preset, overlap={"validation": found, "test": found})
    assert results_table.row(run)[2] == "99.00 [98.50, 99.25] found; error 4.00 [3.50, 4.50]"


@pytest.mark.parametrize("gray", [False, None])
def test_what_is_more_than_a_switch_has_a_value(gray) -> None:
    preset = RAM_PRESETS["cluttered60"][1]
    usual = dataclasses.replace(preset, data=dataclasses.replace(preset.data, grayscale=gray))
    command = results_table.command(results(config=to_json(usual)))
    flags = [] if gray is None else ["--grayscale", str(gray)]
    assert command.split()[3:] == ["cluttered60", *flags]
    assert parse_preset("", "", RAM_PRESETS, command.split()[3:])[1] == usual


def test_the_command_of_a_colocaliser_names_its_encoder() -> None:
    preset = COLOCALISATION_PRESETS["T84"][1]
    changed = to_json(dataclasses.replace(preset, start=dataclasses.replace(preset.start, encoder_from="runs/eyes")))
    command = results_table.command(results(family="colocalisation", preset="T84", config=changed))
    assert command == "python -m experiments.colocalisation T84 --encoder-from runs/eyes"


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--foo"], "error: unknown flag '--foo': there is only --help"),
        (["results", "-x"], "error: unknown flag '-x': there is only --help"),
        (["a", "b"], "error: 2 folders given, a b: give one"),
        (["nowhere"], "error: 'nowhere/README.md' is not there: give a folder of results with a README.md"),
    ],
)
def test_a_bad_command_line_is_one_line(args, message, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        results_table.main(args)
    assert capsys.readouterr() == ("", message + "\n")


def test_help_is_printed(capsys) -> None:
    results_table.main(["--help"])
    assert "python -m experiments.results_table [FOLDER]" in capsys.readouterr().out


def test_the_names_of_the_readouts_are_those_of_the_page() -> None:
    page = (ROOT / "results" / "README.md").read_text()
    assert " | ".join(READOUTS.values()) in page
    assert tuple(READOUTS) == METHODS
