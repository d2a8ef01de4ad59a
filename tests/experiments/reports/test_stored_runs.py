"""Stored runs: their commands, their groups of seeds, and the numbers that are quoted of them."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.cli.command_line import parse_preset
from experiments.families.colocalisation import PRESETS as COLOCALISATION_PRESETS
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.reports.stored_runs import command, measure, read_groups, trained_as, training_images
from experiments.training.config import to_json

METHODS = ("greedy", "sampled", "average_probability", "average_log_probability")


def make_results(error: float = 4.0, **changes) -> dict:
    """Return the results of a RAM on cluttered60."""
    entry = {"error": error, "low": error - 0.5, "high": error + 0.5, "n": 10_000}
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
        "validation": dict.fromkeys(METHODS, entry),
        "test": dict.fromkeys(METHODS, entry),
    } | changes


def write_run(folder: Path, name: str, **changes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(make_results(**changes)))


def test_the_command_is_the_preset_and_the_flags_that_differ_from_it() -> None:
    assert command(make_results()) == "python -m experiments.ram cluttered60"
    preset = RAM_PRESETS["cluttered60"][1]
    policy = dataclasses.replace(preset.model.policy, locations="random", learned_sigma="global")
    training = dataclasses.replace(preset.training, keep_best=False, seed=3)
    changed = dataclasses.replace(
        preset,
        data=dataclasses.replace(preset.data, data="my digits"),
        model=dataclasses.replace(preset.model, policy=policy),
        training=training,
    )
    flags = "--data 'my digits' --locations random --learned-sigma global --no-keep-best"
    assert command(make_results(config=to_json(changed))) == f"python -m experiments.ram cluttered60 {flags}"


def test_runs_of_two_presets_of_a_task_differ_although_neither_has_flags() -> None:
    """A preset that has changed since a run does not pass for the run."""
    dense = make_results(config=to_json(RAM_PRESETS["cluttered60_dense"][1]))
    assert command(dense) == "python -m experiments.ram cluttered60_dense"
    assert trained_as(dense) == ("cluttered60_dense", {}) and trained_as(make_results()) == ("cluttered60", {})
    recorded = dataclasses.replace(RAM_PRESETS["cluttered60"][1].training, log_every=7, seed=3)
    changed = make_results(config=to_json(dataclasses.replace(RAM_PRESETS["cluttered60"][1], training=recorded)))
    assert trained_as(changed) == trained_as(make_results())
    # How often it validates decides which parameters are the best.
    seldom = dataclasses.replace(recorded, evaluate_every=7)
    changed = make_results(config=to_json(dataclasses.replace(RAM_PRESETS["cluttered60"][1], training=seldom)))
    assert trained_as(changed) == ("cluttered60", {"--evaluate-every": "7"})


def test_a_setting_that_is_newer_than_the_run_had_its_default() -> None:
    config = to_json(RAM_PRESETS["cluttered60"][1])
    del config["model"]["estimator"]["reward"]
    assert command(make_results(config=config)) == "python -m experiments.ram cluttered60 --reward correct"


@pytest.mark.parametrize("gray", [False, None])
def test_a_flag_with_three_values_is_given_its_value(gray) -> None:
    preset = RAM_PRESETS["cluttered60"][1]
    usual = dataclasses.replace(preset, data=dataclasses.replace(preset.data, grayscale=gray))
    words = command(make_results(config=to_json(usual))).split()[3:]
    assert words == ["cluttered60", *([] if gray is None else ["--grayscale", str(gray)])]
    assert parse_preset("", "", RAM_PRESETS, words)[1] == usual


def test_the_command_of_co_localisation_names_its_encoder() -> None:
    preset = COLOCALISATION_PRESETS["T84"][1]
    changed = to_json(dataclasses.replace(preset, start=dataclasses.replace(preset.start, encoder_from="runs/encoder")))
    words = command(make_results(family="colocalisation", preset="T84", config=changed))
    assert words == "python -m experiments.colocalisation T84 --encoder-from runs/encoder"


def test_files_that_differ_in_their_seed_are_one_group_with_an_interval_over_seeds(tmp_path: Path) -> None:
    for seed, error in enumerate((3.0, 4.0, 5.0)):
        write_run(tmp_path, f"ram-seed{seed}" if seed else "ram", error=error, seed=seed)
    write_run(tmp_path, "other", error=7.0)
    groups = read_groups(tmp_path)
    assert groups["ram"].files == ("ram", "ram-seed1", "ram-seed2") and set(groups) == {"ram", "other"}
    assert str(measure(groups["ram"])) == "4.00 [2.14, 7.37]" and measure(groups["ram"]).readout == "mean of ten"
    assert str(measure(groups["other"])) == "7.00 [6.50, 7.50]"
    assert measure(groups["ram"], "greedy").readout == "greedy"


def test_a_network_without_episodes_has_a_single_pass(tmp_path: Path) -> None:
    entry = {"greedy": {"error": 1.0, "low": 0.5, "high": 1.5, "n": 10}}
    write_run(tmp_path, "cnn", test=entry, validation=entry)
    assert measure(read_groups(tmp_path)["cnn"]) == (1.0, 0.5, 1.5, "single pass")


def test_co_localisation_is_measured_by_the_boxes_it_found(tmp_path: Path) -> None:
    found = {"found": 99.0, "low": 98.5, "high": 99.25, "n": 10_000, "mean": 0.7}
    write_run(tmp_path, "boxes", overlap={"validation": found, "test": found})
    assert measure(read_groups(tmp_path)["boxes"], "found") == (99.0, 98.5, 99.25, "boxes found")


def test_training_images_are_episodes_divided_by_replicates() -> None:
    preset = RAM_PRESETS["cluttered60"][1]
    estimator = dataclasses.replace(preset.model.estimator, replicates=4)
    config = dataclasses.replace(preset, model=dataclasses.replace(preset.model, estimator=estimator))
    assert training_images(make_results(config=to_json(config))) == 320_000


@pytest.mark.parametrize("text", ["{", "{}", json.dumps(make_results(config="none"))])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ValueError, match="broken.json"):
        read_groups(tmp_path)
