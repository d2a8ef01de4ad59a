"""Presets, flags, and errors of one line."""

import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from jax.errors import JaxRuntimeError

from experiments import cnn, colocalisation, evaluate, look, ram, soft_attention, stn
from experiments.cli.command_line import fail, parse_preset, resume_command, user_errors
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.colocalisation import PRESETS as COLOCALISATION_PRESETS
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.families.soft_attention import PRESETS as SOFT_PRESETS
from experiments.families.stn import PRESETS as STN_PRESETS

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Inner:
    """The inner part."""

    rate: float = 0.5
    """Rate, in steps a second."""
    kind: Literal["one", "another"] = "one"
    """Kind."""


@dataclass(frozen=True)
class Outer:
    """A configuration."""

    inner: Inner = field(default_factory=Inner)
    batch_size: int = 8
    """Images."""
    resize: int | None = None
    """Side."""
    plots: bool = True
    """Draw."""


PRESETS = {"quick": ("the short one", Outer()), "cluttered60": ("the long one", Outer(batch_size=16))}


def parse(*args):
    return parse_preset("prog", "What it does.", PRESETS, args)


def one_line(capsys):
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


def refused(capsys, call, *args):
    with pytest.raises(SystemExit) as stop:
        call(*args)
    assert stop.value.code == 2
    return one_line(capsys)


def test_flags_change_the_preset():
    assert parse("quick") == ("quick", Outer())
    changed = Outer(Inner(0.25, "another"), 16, 4, False)
    assert parse("cluttered60", "--rate", "0.25", "--kind", "another", "--resize", "4", "--no-plots") == (
        "cluttered60",
        changed,
    )


WRONG = [
    (["--kind", "third"], ["--kind", "'third'", "one of one, another"]),
    (["--batch-size", "1.5"], ["--batch-size", "whole number", "'1.5'"]),
    (["--batch-size", "eight"], ["--batch-size", "whole number", "'eight'"]),
    (["--rate", "fast"], ["--rate", "must be a number", "'fast'"]),
    (["--resize", "big"], ["--resize", "a whole number or None", "'big'"]),
    (["--batch-size"], ["--batch-size: its value is missing, give a whole number"]),
    (["--batchsize", "3"], ["--batchsize", "did you mean '--batch-size'?"]),
    (["--nothing-like-it"], ["--nothing-like-it"]),
    (["--plots=maybe"], ["maybe"]),
    (["cluttered60"], ["cluttered60"]),
]


def test_what_a_command_takes_many_of_stands_together(capsys):
    with pytest.raises(SystemExit, match="2"):
        look.main(["quick", "a.png", "--output", "b.gif", "c.png"])
    message = "error: unexpected argument 'c.png': give all images one after another, with no flag between them; see"
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("args, message", WRONG)
def test_a_wrong_flag_is_one_line(capsys, args, message):
    line = refused(capsys, parse, "quick", *args)
    assert [part for part in [*message, "see --help"] if part not in line] == []
    assert (
        not line.startswith("error: Error")
        and not set(line) & set("│╭╰─\x1b")
        and "---" not in line
        and "  " not in line
    )


class Terminal(io.TextIOWrapper):
    """Standard output on a terminal of some encoding, to which tyro fits its boxes."""

    def isatty(self):
        return True


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_wrong_flag_is_the_same_line_on_every_terminal(capsys, monkeypatch, encoding):
    lines = [refused(capsys, parse, "quick", *args) for args, _ in WRONG]
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO(), encoding=encoding))
    assert [refused(capsys, parse, "quick", *args) for args, _ in WRONG] == lines


def test_an_unknown_preset_is_one_line_with_the_closest_name(capsys):
    assert refused(capsys, parse, "quik") == (
        "error: unknown preset 'quik': did you mean 'quick'? choose from quick, cluttered60\n"
    )
    assert refused(capsys, parse, "zzz") == "error: unknown preset 'zzz': choose from quick, cluttered60\n"
    assert "no preset given: choose from quick, cluttered60" in refused(capsys, parse)
    line = refused(capsys, parse, "--batch-size", "3")
    assert "--batch-size" in line and "quick" in line and "cluttered60" in line


def test_help_lists_presets_and_flags(capsys):
    for args, message in [
        (["--help"], ["What it does.", "quick", "the short one", "cluttered60", "the long one"]),
        (["quick", "-h"], ["--batch-size INT", "Images.", "default: 8", "{one,another}", "in steps a second"]),
    ]:
        with pytest.raises(SystemExit) as stop:
            parse(*args)
        out, err = capsys.readouterr()
        assert stop.value.code == 0 and err == "" and out.startswith("usage: prog")
        assert [part for part in message if part not in out] == []


@pytest.mark.parametrize(
    "module, presets",
    [
        (ram, RAM_PRESETS),
        (cnn, CNN_PRESETS),
        (stn, STN_PRESETS),
        (soft_attention, SOFT_PRESETS),
        (colocalisation, COLOCALISATION_PRESETS),
    ],
)
def test_help_of_the_training_commands_lists_every_preset(capsys, module, presets):
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0 and f"python -m {module.__name__}" in text
    for name, (description, _) in module.FAMILY.described_presets().items():
        assert f"• {name} {' '.join(description.split())}" in text
    with pytest.raises(SystemExit) as stop:
        module.main([next(iter(presets)), "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    before_default = re.findall(r"(\S+) \(default: ", text)
    assert stop.value.code == 0 and len(before_default) >= 30
    assert [word for word in before_default if not word.endswith(".")] == [], "every flag has a sentence"
    assert "--run-dir" in text and "--resume" in text
    assert "--learning-rate FLOAT Peak learning rate. Must be above 0. (default: " in text


def test_help_of_evaluate_lists_its_flags(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "python -m experiments.evaluate" in text
    assert "per cent" in text and "Folder of the run" in text and "--episodes" in text


def test_the_resume_command_repeats_the_typed_command(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "-m", "experiments.ram", "quick"])
    typed = ["quick", "--overwrite", "--run-dir", "my runs/it's", "--no-resume", "--sigma", "5px"]
    command = resume_command("experiments.ram", typed)
    assert shlex.split(command) == [
        *(".venv/bin/python", "-m", "experiments.ram", "quick"),
        *("--run-dir", "my runs/it's", "--sigma", "5px", "--resume"),
    ]
    assert resume_command("experiments.ram", shlex.split(command)[3:]) == command


def test_user_errors_are_one_line(capsys):
    def act(error, *kinds):
        with user_errors(*kinds):
            raise error

    assert refused(capsys, fail, "two\n  lines") == "error: two lines\n"
    assert refused(capsys, act, ValueError("bad value")) == "error: bad value\n"
    assert "gone" in refused(capsys, act, FileNotFoundError("gone"))
    assert refused(capsys, act, KeyError("name"), KeyError) == "error: 'name'\n"
    with pytest.raises(ValueError):
        act(ValueError("a fault of the program"), KeyError)
    assert refused(capsys, act, JaxRuntimeError("too little\nmemory")) == "error: too little\n"
    assert refused(capsys, act, MemoryError()) == "error: too little memory\n"
    assert refused(capsys, act, MemoryError("for 9 GiB")) == "error: too little memory: for 9 GiB\n"
    with pytest.raises(RuntimeError):
        act(RuntimeError("a fault of the program"))


def test_errors_of_own_code_name_its_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def unpack():\n    a, b = [1]\n\n\ndef add():\n    return None + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("mine")

    def call(function, *kinds):
        with user_errors(*kinds):
            function()

    unpacked = "error: not enough values to unpack (expected 2, got 1) (mine.py, line 2)\n"
    assert refused(capsys, call, mine.unpack) == unpacked
    added = refused(capsys, call, mine.add)
    assert added.startswith("error: TypeError: unsupported operand") and added.endswith(" (mine.py, line 6)\n")
    with pytest.raises(TypeError):  # While a run trains, only its own kinds of errors are expected.
        call(mine.add, KeyError)


def test_a_closed_pipe_ends_the_help_quietly():
    """`head` closes its end of the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "experiments.cost", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "place", ["jax.jit(lambda x: interrupt() or x)(1.0)", "gc.callbacks.append(interrupt), gc.collect()"]
)
def test_ctrl_c_ends_a_command_in_one_line_wherever_it_comes(place):
    """In a callback of the garbage collector, as JAX has one, Python drops exceptions."""
    script = f"""
import gc, signal, sys, time
sys.argv = ["-m"]
from experiments.cli.command_line import interruptible
import jax
def interrupt(*args):
    gc.callbacks.clear()
    signal.raise_signal(signal.SIGINT)
with interruptible("stopped"):
    {place}
    time.sleep(60)
"""
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "stopped\n")
