"""Bad input of every command: one line, status 2, and no file."""

import os
from pathlib import Path

import pytest

from experiments import (
    ablate,
    check_estimator,
    cnn,
    colocalisation,
    cost,
    diagnose,
    download_svhn,
    dram,
    evaluate,
    export,
    focus,
    forward_backward,
    look,
    ram,
    reproduce,
    soft_attention,
    stn,
    train,
)
from experiments.benchmarks import convolution_speed, training_speed
from experiments.reports import results_pages
from experiments.studies import gradient_variance

# What is given where a run is meant.
RUNS = ("absent", "file", "empty", "damaged", "other", "model", "config.json", "''", "pipe", "loop")
READERS = {
    evaluate: "{}",
    diagnose: "{}",
    export: "{} agent.npz",
    focus: "{}",
    forward_backward: "{} {}",
    cost: "{}",
    gradient_variance: "{}",
    look: "{} picture.png",
}
NUMBERS = {
    evaluate: "run --episodes 0|run --batch-size -1|run --episodes x|run --last --plots|run --output .",
    diagnose: "run --episodes 0|run --split train|run --batch-size 0|run --classifier absent",
    export: "run|run agent.txt|run absent/agent.npz|run agent.npz --dtype int8",
    look: "quick|quick absent.png|quick file|quick . --output a.png|quick file --output a.bmp|quick file --episodes -1",
    cost: "--preset ram|--preset ram/none|--preset none/quick|--preset cnn/mnist28 --size 0",
    check_estimator: "none|module:name|gain --reward none|gain --replicates 0",
    reproduce: "none|mnih2014/none|mnih2014 --seeds 0|mnih2014 --rows none|mnih2014 --gpus -1",
    download_svhn: "file|folder --parts none|folder --nonsense",
    results_pages: "absent|empty empty|--all",
    training_speed: "--seconds -1|--nonsense|extra",
    convolution_speed: "--nonsense|extra",
    ablate: "none|ram|ram --preset none|ram quick|ram --preset quick --seeds 0|ram --preset quick --sigma|"
    "study absent.py|study file|ram --preset quick --jobs 0|ram --preset quick --zip sigma|"
    "cnn --preset mnist28 --units 4 4",
    train: "none|ram|ram none|absent:name quick|--quick",
}
TRAINERS = {
    ram: "quick",
    dram: "pairs100",
    stn: "mnist28_cnn",
    soft_attention: "cluttered60",
    colocalisation: "TC84",
    cnn: "mnist28",
}
FLAGS = (
    "--steps 0|--steps 1.5|--steps|--batch-size 0|--batch-size x|--seed -1|--learning-rate nan|--learning-rate 0|"
    "--optimizer none|--schedule none|--task none|--task absent:name|--data absent|--data file|--data empty|--resize 0|"
    "--resize 3x|--init-from absent|--init-from empty|--resume|--resume --overwrite|--run-dir file|--run-dir other|"
    "--nonsense|--log-every 0|--evaluate-every 0|--eval-episodes 0|--validation-fraction 2|extra"
)
CASES = [
    *((module, line.format(*["NAME"] * 2).replace("NAME", name)) for module, line in READERS.items() for name in RUNS),
    *((module, line) for module, lines in NUMBERS.items() for line in lines.split("|")),
    *((module, f"{preset} {flag}") for module, preset in TRAINERS.items() for flag in FLAGS.split("|")),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what is mistaken for a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no run")
    (tmp_path / "config.json").write_text("{}")
    for name, content in {"empty": None, "damaged": "{", "other": '{"a": 1}', "model": '{"family": "rum"}'}.items():
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "config.json").write_text(content)
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    return tmp_path


@pytest.mark.slow
@pytest.mark.fault("bad inputs of commands", "named")
@pytest.mark.parametrize("module, line", CASES, ids=[f"{m.__name__.rpartition('.')[2]} {line}" for m, line in CASES])
def test_bad_input_of_every_command_is_one_line(here, capsys, unchecked, module, line):
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        module.main([part.strip("'") for part in line.split()])
    out, err = capsys.readouterr()
    *progress, last = err.splitlines()
    assert (stop.value.code, out) == (2, "") and last.startswith("error: ") and len(last) < 1000
    assert all(each.startswith(("images: ", "M = ")) for each in progress)
    assert sorted(here.rglob("*")) == before
