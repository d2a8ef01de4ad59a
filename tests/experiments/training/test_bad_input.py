"""Bad input of a run: one line that quotes the value, and no file."""

import dataclasses
import functools
import os
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from common.data.mnist import MNIST_PATH, load_mnist
from experiments import cnn, ram
from experiments.families.ram import RamExperiment
from experiments.training.augmentation import AugmentationConfig
from tests.experiments.training.small_runs import CNN, RAM


def fields_of(cls, kind):
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint, kind)
        elif kind in (hint, *get_args(hint)):
            yield name


FLOATS, INTS = sorted(fields_of(RamExperiment, float)), sorted(fields_of(RamExperiment, int))
MAY_BE_ZERO = {
    *("seed", "split_seed", "patience", "warmup_steps", "location_network_hidden", *get_type_hints(AugmentationConfig)),
    *("momentum", "gradient_clip", "weight_decay", "discount", "classification_weight", "policy_weight"),
    *("value_weight", "entropy_weight", "moving_average_decay", "gae_lambda", "max_kl", "label_smoothing"),
}


def test_every_number_of_the_configuration_has_a_case():
    assert {"learning_rate", "discount", "test_fraction"} <= set(FLOATS) and len(FLOATS) >= 12
    assert {"steps", "batch_size", "num_glimpses", "resize", "replicates", "seed"} <= set(INTS) and len(INTS) >= 22


def out_of_range(names, *values):
    return [(name, value) for name in names for value in values if value != "0" or name not in MAY_BE_ZERO]


@pytest.mark.parametrize("name, value", out_of_range(FLOATS, "nan", "inf", "-1", "0"))
def test_floats_out_of_range_are_refused(refused, name, value):
    line = refused(ram, RAM, f"--{name.replace('_', '-')}", value)
    assert name in line.replace("-", "_") and value in line and not Path("run").exists()


@pytest.mark.parametrize("name, value", out_of_range(INTS, "-3", "0"))
def test_integers_out_of_range_are_refused(refused, name, value):
    line = refused(ram, RAM, f"--{name.replace('_', '-')}", value)
    assert name in line.replace("-", "_") and value in line and not Path("run").exists()


WRONG = [
    (["--sigma", "0"], ["sigma '0'", "positive", "'5px'"]),
    (["--sigma", "-3px"], ["sigma '-3px'", "positive", "'5px'"]),
    (["--sigma", "abc"], ["sigma 'abc'", "positive", "'5px'"]),
    (["--sigma", "nan"], ["sigma 'nan'"]),
    (["--sigma-final", "1e999px"], ["sigma_final '1e999px'"]),
    (["--sigma-schedule", "constant"], ["sigma_schedule 'constant' with sigma_final '1px'"]),
    (["--momentum", "0.5"], ["momentum 0.5 with optimizer 'adam': only 'sgd' reads it", "leave it at 0.9"]),
    (["--entropy-weight", "0.01"], ["entropy_weight 0.01 with learned_sigma 'no'", "leave it at 0.0"]),
    (["--resize-mode", "crop"], ["resize_mode 'crop': it is for your own images (--data) with --resize"]),
    (["--decay", "0.5"], ["decay 0.5 with schedule 'cosine': only 'exponential' reads it"]),
    (["--core", "gru", "--core-heads", "2"], ["core_heads 2 with core 'gru': only 'transformer' reads it"]),
    (["--clip-ratio", "0.1"], ["clip_ratio 0.1 with surrogate 'score_function': only 'ppo_clip' reads it"]),
    (["--gae-lambda", "1"], ["gae_lambda 1.0 with advantage 'learned_baseline': only 'gae' reads it"]),
    (["--moving-average-decay", "0.5"], ["moving_average_decay 0.5 with advantage 'learned_baseline': only 'moving_a"]),
    (["--conv-channels", "2"], ["conv_channels 2 with glimpse_network 'dense'", "leave it at 64"]),
    (["--seed", "4294967296"], ["seed 4294967296", "4294967295"]),
    (["--warmup-steps", "4"], ["warmup_steps 4", "below the run's 4 steps"]),
    (["--decay", "1.1"], ["decay 1.1", "at most 1"]),
    (["--momentum", "1"], ["momentum 1.0", "below 1"]),
    (["--discount", "1.01"], ["discount 1.01", "from 0 to 1"]),
    (["--batch-size", "121"], ["batch_size 121", "at most 120", "training images"]),
    (["--glimpse-size", "13"], ["glimpse_size 13", "12x12", "at most 12"]),
    (["--num-scales", "9"], ["num_scales 9", "12x12", "at most 4"]),
    (["--growth", "1"], ["growth 1", "at most 1"]),
    (["--core", "transformer", "--core-heads", "3"], ["core_heads 3", "must divide core_hidden 16"]),
    (["--core", "lstn"], ["'lstn'", "did you mean 'lstm'", "transformer", "module:name"]),
    (["--optimizer", "adamw"], ["'adamw'", "must be one of sgd, adam"]),
    (["--task", "clutered60"], ["'clutered60'", "did you mean 'cluttered60'", "mnist28"]),
    (["--task", "cifar"], ["'cifar'", "mnist28", "images"]),
    (["--reward", "corect"], ["'corect'", "did you mean 'correct'", "log_probability", "module:name"]),
    (["--advantage", "gea"], ["'gea'", "did you mean 'gae'", "plain_return", "module:name"]),
    (["--surrogate", "ppo"], ["'ppo'", "score_function", "module:name"]),
    (["--surrogate", "no.such:function"], ["'no.such:function'", "No module named"]),
    (["--reward", "math:no_such"], ["'math:no_such'", "has no 'no_such'"]),
    (["--reward", "math:pi"], ["'math:pi'", "not a function"]),
    (["--advantage", "leave_one_out"], ["'leave_one_out'", "replicates 1", "at least 2"]),
    (["--glimpses", "3"], ["--glimpses", "did you mean", "--num-glimpses"]),
    (["--validation-fraction", "0.5", "--test-fraction", "0.5"], ["0.5", "less than 1 in total"]),
    (["--data", "absent.npz"], ["absent.npz", "no file"]),
    (["--run-dir", "file"], ["'file' is a file"]),
    (["--run-dir", "file/below"], ["'file/below'", "not a folder that can be written"]),
    (["--core-hidden", "1000000000"], ["the model has ", " parameters", "at most 1,000,000,000"]),
    (["--minibatches", "3", "--surrogate", "ppo_clip"], ["minibatches 3", "must divide batch_size 8"]),
    (["--passes", "2"], ["passes 2", "ppo_clip"]),
    (["--run-dir", "full"], ["'full'", "no config.json of a run", "another --run-dir"]),
    (["--run-dir", "full", "--overwrite"], ["'full'", "no config.json of a run"]),
    (["--resume"], ["'run' holds no run to resume"]),
    (["--resume", "--overwrite"], ["--resume with --overwrite"]),
]


@pytest.mark.parametrize("flags, message", WRONG, ids=lambda value: "_".join(value) if value[0][:2] == "--" else "")
def test_bad_input_is_one_line_and_nothing_is_written(refused, tmp_path, flags, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    line = refused(ram, RAM, *flags)
    assert [part for part in message if part not in line] == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--units", "0"], ["units 0", "at least 1"]),
        (
            ["--dropout", "0.3"],
            ["dropout 0.3 with network 'fc': only 'cnn11', ", "leave it at 0.5"],
        ),
        (["--heads", "length"], ["heads 'length': the labels are no sequences, so it has no effect"]),
        (["--network", "paper_cnn", "--resize", "9"], ["'paper_cnn' on 9x9", "at least 10x10"]),
        (["--network", "resnet"], ["'resnet'", "article_cnn"]),
    ],
)
def test_bad_input_of_a_classifier_is_one_line(refused, flags, message):
    line = refused(cnn, CNN, *flags)
    assert [part for part in message if part not in line] == [] and not Path("run").exists()


def test_an_unknown_preset_is_one_line(refused):
    assert "unknown preset 'quik': did you mean 'quick'? choose from quick, " in refused(ram, ["quik", *RAM[1:]])


def test_a_folder_without_write_permission_is_one_line(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "'run'" in refused(ram, RAM) and not Path("run").exists()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damaged_mnist_is_one_line(refused, monkeypatch, tmp_path):
    copy = Path(shutil.copy(MNIST_PATH, tmp_path / "mnist.npz"))
    flip(copy)
    monkeypatch.setattr("common.data.dataset.load_mnist", functools.partial(load_mnist, copy))
    line = refused(ram, RAM, "--task", "mnist28", "--data", "None")
    assert str(copy) in line and not Path("run").exists()


def test_damaged_images_are_one_line(refused, images, tmp_path):
    for name, damage in [("flipped", flip), ("short", lambda path: path.write_bytes(path.read_bytes()[:-900]))]:
        copy = Path(shutil.copy(images, tmp_path / f"{name}.npz"))
        damage(copy)
        assert str(copy) in refused(ram, RAM, "--data", str(copy)) and not Path("run").exists()
