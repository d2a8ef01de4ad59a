"""The options of the images, the progress messages, and a run on house numbers from end to end."""

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments import cnn, evaluate, ram
from experiments.cli import console
from experiments.cli.command_line import parse_preset
from experiments.cli.console import image_progress
from experiments.cli.fields import allowed, convert, fields_of
from experiments.families import FAMILIES
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.cnn import CnnExperiment
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.families.ram import RamExperiment
from experiments.sweeps.cells import Cell, arguments
from experiments.training import config
from experiments.training.config import (
    DataConfig,
    from_json,
    load_dataset,
    load_evaluation_images,
    split_sizes,
    to_json,
    unread_data_settings,
    validate_data,
)
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
def test_split_sizes_follow_from_the_number_of_training_images(num_images, sizes):
    assert split_sizes(num_images) == sizes


@pytest.mark.parametrize("number", [0, -5])
def test_a_number_of_images_below_one_is_refused(number):
    with pytest.raises(ValueError, match=f"^num_images {number}: must be at least 1$"):
        load_dataset(DataConfig("house_numbers", num_images=number))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_images": 5}, "^num_images 5: only for rendered house numbers; 'mnist28' has a fixed number$"),
        ({"grayscale": True}, "^grayscale True: only for house numbers and for your own images"),
    ],
)
def test_options_without_effect_on_mnist_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(DataConfig("mnist28", **changes))


def test_all_options_reach_the_task(tmp_path, monkeypatch):
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path))
    monkeypatch.setattr(config, "LEAST_EVALUATION_IMAGES", 3)
    dataset = load_dataset(DataConfig("house_numbers", resize=10, grayscale=True, num_images=4))
    assert dataset.train.images.shape == (4, 12, 12, 1) and dataset.train.labels.shape == (4, 6)
    assert dataset.validation.images.shape == dataset.test.images.shape == (3, 10, 10, 1)


@pytest.mark.parametrize("task", ["house_numbers", "svhn_numbers"])
def test_without_training_a_single_training_image_is_made(tmp_path, monkeypatch, task):
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(config, "LEAST_EVALUATION_IMAGES", 3)
    for name in ("train", "extra", "test"):
        make_part(tmp_path, name, some_records(8))
    options = {"num_images": 4} if task == "house_numbers" else {"data": str(tmp_path)}
    data = DataConfig(task, resize=10, grayscale=True, **options)
    dataset, whole = load_evaluation_images(data), load_dataset(data)
    assert dataset.train.images.shape == (1, 12, 12, 1) and dataset.train.labels.shape == (1, 6)
    assert len(whole.train.labels) == {"house_numbers": 4, "svhn_numbers": 15}[task]
    for split in ("validation", "test"):
        for array, other in zip(getattr(dataset, split), getattr(whole, split), strict=True):
            np.testing.assert_array_equal(array, other)


def test_fields_that_an_older_run_lacks_have_their_defaults():
    tree = json.loads(json.dumps(to_json(CnnExperiment())))
    for section, name in (("data", "grayscale"), ("data", "num_images"), ("model", "width"), ("model", "heads")):
        del tree[section][name]
    assert from_json(CnnExperiment, tree) == CnnExperiment()


@pytest.mark.parametrize("value", [None, True, False])
def test_grayscale_on_the_command_line_and_as_an_axis(value):
    hint = fields_of(CnnExperiment)["grayscale"].hint
    assert convert("grayscale", str(value), hint) is value
    assert allowed(hint) == "True or False or None"
    usual = CNN_PRESETS["house_numbers"][1]
    changed = dataclasses.replace(usual, data=dataclasses.replace(usual.data, grayscale=value, num_images=7))
    _, _, preset, *flags = arguments(Cell(FAMILIES["cnn"], "house_numbers", changed), None, resume=False, reports=True)
    assert parse_preset("x", "x", CNN_PRESETS, [preset, *flags])[1] == changed


@pytest.mark.parametrize(("text", "value", "shape"), [("8", 8, (8, 8)), ("6x9", "6x9", (6, 9)), ("None", None, (4, 8))])
def test_resize_on_the_command_line_and_as_an_axis(tmp_path, text, value, shape):
    np.savez(tmp_path / "own.npz", images=np.full((9, 4, 8), 200, np.uint8), labels=np.arange(9) % 2)
    flags = ["images", "--data", str(tmp_path / "own.npz"), "--resize", text]
    mode = "pad" if value is None else "crop"
    _, parsed = parse_preset("x", "x", RAM_PRESETS, [*flags, "--resize-mode", mode])
    assert parsed.data.resize == value and parsed.data.resize_mode == mode
    field = fields_of(RamExperiment)["resize"]
    assert convert("resize", text, field.hint) == value
    assert from_json(RamExperiment, json.loads(json.dumps(to_json(parsed)))).data == parsed.data
    dataset = load_dataset(parsed.data)
    assert dataset.image_shape == (*shape, 1) and (dataset.test.images == 200).all()


@pytest.mark.parametrize("task", ["images", "house_numbers"])
@pytest.mark.parametrize("resize", [0, 3000, "48x", "big"])
def test_bad_size_is_one_line_that_quotes_it(task, resize):
    with pytest.raises(ValueError, match=rf"^resize {resize!r} \(--resize\): must be SIDE or HxW in pixels"):
        validate_data(DataConfig(task, resize=resize))


# -- Progress. --


@pytest.mark.parametrize("terminal", [False, True])
def test_image_progress_is_a_line_for_each_split_and_a_bar_on_a_terminal(monkeypatch, terminal):
    out = io.StringIO()
    monkeypatch.setattr(
        console, "console", Console(file=out, force_terminal=terminal, width=80, _environ={"TERM": "x"})
    )
    with image_progress() as progress:
        assert out.getvalue() == ""
        for split, total in (("train records", 5), ("train", 3), ("test", 2)):
            for done in range(1, total + 1):
                progress(split, done, total)
    output = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert output.count("reading 5 train records\n") == 1 and "5 train records images" not in output
    assert output.count("rendering 3 train images") == output.count("rendering 2 test images") == 1
    assert ("3/3" in output) == terminal


@pytest.mark.parametrize("terminal, lines", [(False, ["250 of 1,000", "510 of 1,000", "750 of 1,000"]), (True, [])])
def test_image_progress_is_a_line_for_each_quarter_without_a_terminal(monkeypatch, terminal, lines):
    out = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=out, force_terminal=terminal, _environ={"TERM": "x"}))
    monkeypatch.setattr(console, "LONG", 1_000)
    with image_progress() as progress:
        for done in range(10, 1_001, 20):
            progress("train", done + 20 * (done == 490), 1_000)
            progress("test", 1 + done % 3, 999)
    output = [line for line in out.getvalue().splitlines() if line.startswith(("train:", "test:"))]
    assert output == [f"train: {line}" for line in lines]


def test_warnings_are_single_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "cache"))
    for name in ("train", "test"):
        make_part(tmp_path, name, [*some_records(4), ("5.png", [(1, 4, 6, 8, 14)] * 6)])
    for _ in range(2):  # Cached images repeat the warnings.
        load_dataset(DataConfig("svhn_numbers", str(tmp_path), resize=8))
        err = capsys.readouterr().err
        warned = [line for line in err.splitlines() if line.startswith("'")]
        assert "Warning" not in err
        assert warned[0].startswith(f"'{tmp_path}' holds no extra.tar.gz, so train and validation have")
        skipped = "gives 4 numbers; skipped 1 with more than 5 digits"
        assert warned[1:] == [f"'{tmp_path}/{name}.tar.gz' {skipped}" for name in ("train", "test")]


# -- A run. --


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("numbers")


def test_a_run_on_house_numbers_reports_progress_and_results(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HARD_ATTENTION_CACHE", "cache")
    monkeypatch.setattr(config, "LEAST_EVALUATION_IMAGES", 25)
    cnn.main(SMALL)
    err = capsys.readouterr().err
    assert err.count("rendering 40 train images") == err.count("rendering 25 test images") == 1
    assert "house_numbers: 12x12x1, labels of 6 symbols, end symbols included; fc" in err
    results = read_json(Path("run/results.json"))
    greedy = results["test"]["greedy"]
    assert set(results["test"]) == {"greedy"} and greedy["n"] == 25
    assert sum(entry["n"] for entry in greedy["by_length"].values()) == greedy["end"]["n"] == 25
    plots = {path.name for path in Path("run/plots").iterdir()}
    assert plots == {"learning_curves.png", "confusion.png", "error_by_length.png"}
    assert "Error by length" in Path("run/report.html").read_text()
    evaluate.main(["run"])
    out, err = capsys.readouterr()
    assert f"{greedy['error']:.2f}" in out and "making" not in err, "the images are cached"


def test_an_older_run_resumes_although_fields_were_added(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HARD_ATTENTION_CACHE", "cache")
    monkeypatch.setattr(config, "LEAST_EVALUATION_IMAGES", 25)
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


def test_settings_of_splits_are_refused_where_the_task_has_its_own(capsys):
    with pytest.raises(SystemExit, match="2"):
        ram.main(["mnist28", "--split-seed", "7", "--run-dir", "never"])
    reason = "split_seed 7: the task has its own validation and test images, so it has no effect; leave it at 0"
    assert reason in capsys.readouterr().err
    splits = {"validation_fraction", "test_fraction", "split_seed"}
    assert set(unread_data_settings(DataConfig("mnist28"))) == splits | {"resize_mode"}
    assert set(unread_data_settings(DataConfig("house_numbers", resize=32))) == splits | {"resize_mode"}
    assert set(unread_data_settings(DataConfig("mnist28", data="own.npz"))) == {"resize_mode"}
    assert unread_data_settings(DataConfig("images", data="own.npz", resize=32)) == {}


def test_a_line_on_standard_error_tells_what_own_images_were_loaded(images, capsys):
    load_dataset(DataConfig("images", data=str(images), validation_fraction=0.2))
    counts = "train 105, validation 30 (from train), test 15 (from train)"
    assert capsys.readouterr() == ("", f"images: {str(images)!r} has 3 classes; {counts}; 12x12x1\n")
