"""The options of the images: what they load, what is said meanwhile, and a run on whole numbers from end to end."""

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments import cnn, evaluate
from experiments.cli import console
from experiments.cli.command_line import parse_preset
from experiments.cli.console import image_progress
from experiments.cli.fields import allowed, convert, fields_of, to_text
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.cnn import CnnExperiment
from experiments.sweeps.cells import Cell, arguments
from experiments.training import config
from experiments.training.config import DataConfig, from_json, load_dataset, load_fixed, split_sizes, to_json
from experiments.training.run_directory import read_json
from tests.common.data.svhn.svhn_maker import make_part, some_records

STEPS = 2
SMALL = (
    "house_numbers --num-images 40 --resize 12 --network fc --units 8 --batch-size 8 --eval-batch-size 20"
    f" --run-dir run --steps {STEPS} --evaluate-every {STEPS} --log-every {STEPS}"
).split()


@pytest.mark.parametrize(
    "num_images, sizes", [(None, None), (50_000, (50_000, 5_000, 5_000)), (20, (20, 1_000, 1_000))]
)
def test_sizes_of_the_splits(num_images, sizes):
    assert split_sizes(num_images) == sizes


@pytest.mark.parametrize("number", [0, -5])
def test_no_images(number):
    with pytest.raises(ValueError, match=f"^num_images {number}: must be at least 1$"):
        load_dataset(DataConfig("house_numbers", num_images=number))


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"num_images": 5}, "^num_images 5: is for rendered house numbers only; 'mnist28' has what it has$"),
        ({"grayscale": True}, "grayscale True is for your own images only"),
    ],
)
def test_options_that_mnist_does_not_have(changes, said):
    with pytest.raises(ValueError, match=said):
        load_dataset(DataConfig("mnist28", **changes))


def test_all_options_reach_the_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "LEAST_FIXED", 3)
    dataset = load_dataset(DataConfig("house_numbers", resize=10, grayscale=True, num_images=4))
    assert dataset.train.images.shape == (4, 12, 12, 1) and dataset.train.labels.shape == (4, 6)
    assert dataset.validation.images.shape == dataset.test.images.shape == (3, 10, 10, 1)


@pytest.mark.parametrize("task", ["house_numbers", "svhn_numbers"])
def test_who_does_not_train_has_one_training_image(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "LEAST_FIXED", 3)
    for name in ("train", "extra", "test"):
        make_part(tmp_path, name, some_records(8))
    options = {"num_images": 4} if task == "house_numbers" else {"data": str(tmp_path)}
    data = DataConfig(task, resize=10, grayscale=True, **options)
    dataset, whole = load_fixed(data), load_dataset(data)
    assert dataset.train.images.shape == (1, 12, 12, 1) and dataset.train.labels.shape == (1, 6)
    assert len(whole.train.labels) == {"house_numbers": 4, "svhn_numbers": 15}[task]
    for split in ("validation", "test"):
        for array, other in zip(getattr(dataset, split), getattr(whole, split), strict=True):
            np.testing.assert_array_equal(array, other)


def test_configuration_of_an_older_run_has_the_defaults():
    tree = json.loads(json.dumps(to_json(CnnExperiment())))
    for section, name in (("data", "grayscale"), ("data", "num_images"), ("model", "width"), ("model", "heads")):
        del tree[section][name]
    assert from_json(CnnExperiment, tree) == CnnExperiment()


@pytest.mark.parametrize("value", [None, True, False])
def test_grayscale_on_the_command_line_and_as_an_axis(value):
    hint = fields_of(CnnExperiment)["grayscale"].hint
    assert convert("grayscale", to_text(value), hint) is value
    assert allowed(hint) == "True or False or None"
    usual = CNN_PRESETS["house_numbers"][1]
    changed = dataclasses.replace(usual, data=dataclasses.replace(usual.data, grayscale=value, num_images=7))
    _, _, preset, *flags = arguments(Cell("cnn", "house_numbers", changed), None, resume=False, reports=True)
    assert parse_preset("x", "x", CNN_PRESETS, [preset, *flags])[1] == changed


# -- What is said. --


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_for_each_split_and_a_bar_on_a_terminal(monkeypatch, terminal):
    out = io.StringIO()
    monkeypatch.setattr(
        console, "console", Console(file=out, force_terminal=terminal, width=80, _environ={"TERM": "x"})
    )
    with image_progress() as progress:
        assert out.getvalue() == ""
        for split, total in (("train records", 5), ("train", 3), ("test", 2)):
            for done in range(1, total + 1):
                progress(split, done, total)
    said = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert said.count("reading 5 train records\n") == 1 and "5 train records images" not in said
    assert said.count("making 3 train images") == said.count("making 2 test images") == 1
    assert ("3/3" in said) == terminal


@pytest.mark.parametrize("terminal, lines", [(False, ["250 of 1,000", "510 of 1,000", "750 of 1,000"]), (True, [])])
def test_without_a_terminal_each_quarter_is_a_line(monkeypatch, terminal, lines):
    out = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=out, force_terminal=terminal, _environ={"TERM": "x"}))
    monkeypatch.setattr(console, "LONG", 1_000)
    with image_progress() as progress:
        for done in range(10, 1_001, 20):
            progress("train", done + 20 * (done == 490), 1_000)
            progress("test", 1 + done % 3, 999)
    said = [line for line in out.getvalue().splitlines() if line.startswith(("train:", "test:"))]
    assert said == [f"train: {line}" for line in lines]


def test_warnings_are_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        make_part(tmp_path, name, [*some_records(4), ("5.png", [(1, 4, 6, 8, 14)] * 6)])
    for _ in range(2):  # What is kept is warned of as well.
        load_dataset(DataConfig("svhn_numbers", str(tmp_path), resize=8))
        err = capsys.readouterr().err
        warned = [line for line in err.splitlines() if line.startswith("'")]
        assert "Warning" not in err
        assert warned[0].startswith(f"'{tmp_path}' holds no extra.tar.gz, so train and validation share")
        skipped = "gives 4 numbers; skipped 1 with more than 5 digits"
        assert warned[1:] == [f"'{tmp_path}/{name}.tar.gz' {skipped}" for name in ("train", "test")]


# -- A run. --


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("numbers")


def test_run_on_whole_numbers(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(config, "LEAST_FIXED", 25)
    cnn.main(SMALL)
    err = capsys.readouterr().err
    assert err.count("making 40 train images") == err.count("making 25 test images") == 1
    assert "house_numbers: 12x12x1, labels of 6 symbols, end symbols among them; fc" in err
    results = read_json(Path("run/results.json"))
    greedy = results["test"]["greedy"]
    assert set(results["test"]) == {"greedy"} and greedy["n"] == 25
    assert sum(entry["n"] for entry in greedy["by_length"].values()) == greedy["end"]["n"] == 25
    plots = {path.name for path in Path("run/plots").iterdir()}
    assert plots == {"learning_curves.png", "confusion.png", "error_by_length.png"}
    assert "Error by length" in Path("run/report.html").read_text()
    evaluate.main(["run"])
    out, err = capsys.readouterr()
    assert f"{greedy['error']:.2f}" in out and "making" not in err, "the images are there"


def test_older_run_goes_on_although_there_are_new_fields(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(config, "LEAST_FIXED", 25)
    cnn.main([*SMALL, "--no-plots", "--heads", "length", "--overwrite"])
    saved = read_json(Path("run/config.json"))
    del saved["config"]["data"]["augmentation"], saved["config"]["model"]["width"]
    saved["config"]["model"]["dropout"] = 0.5
    Path("run/config.json").write_text(json.dumps(saved))
    resume = [*SMALL, "--no-plots", "--heads", "length", "--dropout", "0.5", "--resume"]
    with pytest.raises(SystemExit, match="2"):
        cnn.main([*resume, "--width", "2"])
    assert "its config.model.width is 1.0, now 2.0" in capsys.readouterr().err
    cnn.main([*resume, "--width", "1"])
