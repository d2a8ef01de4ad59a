"""Whole experiments of DRAM on sequences, from the command line: results, evaluation, resuming, and bad input."""

from pathlib import Path

import numpy as np
import pytest

from experiments import dram, evaluate, ram
from experiments.output.readouts import READOUTS, readout_name
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from tests.docs.pages import unexplained_names

LOOP = (
    "--optimizer adam --steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --validation-episodes 2"
    " --eval-episodes 3 --seed 5"
)
FLAGS = (
    "pairs100_sequence --glimpse-network dense --glimpse-size 4 --num-scales 2 --glimpses-per-target 2 --core rnn"
    " --lower-hidden 9 --upper-hidden 7 --glimpse-features 8 --context-size 8 --context-channels 3"
    " --unit-width 20px --mean-activation linear --sigma 20px"
    " --sigma-final 5px --replicates 2 --no-plots " + LOOP
).split()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Make images of 12x12 pixels in ten classes, as many as there are digits, for pairs of them."""
    labels = np.arange(300) % 10
    noise = np.random.default_rng(0).integers(0, 60, (300, 12, 12), dtype=np.uint8)
    bright = (np.arange(12) == labels[:, None])[:, None, :]
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=noise + np.uint8(150) * bright, labels=labels)
    return path


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """Train a run and return its folder."""
    folder = tmp_path_factory.mktemp("dram") / "run"
    dram.main([*FLAGS, "--data", str(images), "--run-dir", str(folder)])
    return folder


def test_results_of_sequences_have_errors_of_symbols_ends_and_lengths(trained):
    results = read_json(trained / "results.json")
    assert (results["task"], results["family"], results["preset"]) == ("pairs100_sequence", "dram", "pairs100_sequence")
    assert (results["steps"], results["episodes"]) == (4, 4 * 8 * 2)
    # Two digits and the end: eleven symbols. Weights and biases by hand.
    glimpse = (2 * 4 * 4 * 8 + 8) + (2 * 8 + 8)
    cores = (8 * 9 + 9) + (9 * 9 + 9) + (9 * 7 + 7) + (7 * 7 + 7)
    context = (9 * 1 * 3 + 3) + 2 * (9 * 3 * 3 + 3) + (3 * 2 * 2 * 7 + 7)
    heads = (7 * 2 + 2) + (9 * 11 + 11) + (7 + 1)
    assert results["parameters"] == glimpse + cores + context + heads
    for split in ("validation", "test"):
        assert tuple(results[split]) == tuple(READOUTS)
        for entry in results[split].values():
            assert tuple(entry) == ("error", "low", "high", "n", "symbol", "end", "by_length")
            # Every sequence has two symbols, so one length is all there is.
            assert entry["by_length"] == {"2": {name: entry[name] for name in ("error", "low", "high", "n")}}
            assert (entry["n"], entry["end"]["n"], entry["symbol"]["n"]) == (30, 30, 60)
            for part in (entry, entry["symbol"], entry["end"]):
                assert 0 <= part["low"] <= part["error"] <= part["high"] <= 100
            # A sequence of a wrong length is wrong, and so is one with a wrong symbol.
            assert entry["error"] >= entry["end"]["error"] and entry["error"] >= entry["symbol"]["error"]
    assert [record["step"] for record in read_metrics(trained)] == [2, 4]


def test_every_metric_is_explained(trained):
    assert unexplained_names(trained) == set()


def test_evaluate_prints_the_errors_of_the_results(trained, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")  # Wide enough that no cell is folded.
    evaluate.main([str(trained)])
    out, err = capsys.readouterr()
    assert "pairs100_sequence: 100x100x1, labels of 3 symbols, end symbols included; 6 glimpses of 2" in err
    assert "; 6 glimpses of 2 x 4x4, rnn, M = 2" in err
    results = read_json(trained / "results.json")
    for method in READOUTS:
        cells = [results[split][method] for split in ("validation", "test")]
        row = " │ ".join(f"{e['error']:.2f} [{e['low']:.2f}, {e['high']:.2f}]" for e in cells)
        (line,) = [line for line in out.splitlines() if line.startswith(f"│ {readout_name(method, 3)} ")]
        assert row in line


WRONG = [
    (["--no-context", "--context-size", "9"], ["context_size 9 with context False, so it has no effect"]),
    (["--no-two-layers", "--upper-hidden", "9"], ["upper_hidden 9 with two_layers False"]),
    (["--glimpses-per-target", "0"], ["glimpses_per_target 0", "at least 1"]),
    (["--glimpses-per-target", "67"], ["glimpses_per_target 67", "at most 66", "3 targets"]),
    (["--context-size", "101"], ["context_size 101", "100x100", "at most 100"]),
    (["--glimpse-network", "conv"], ["glimpse_size 4", "'conv'", "at least 7"]),
    (["--glimpse-network", "convolutional"], ["unknown glimpse_network 'convolutional'", "dense, conv"]),
    (["--unit-width", "-3px"], ["unit_width '-3px'", "positive", "'5px'"]),
    (["--reward", "log_probability"], ["'log_probability' with stop_at_wrong", "--no-stop-at-wrong"]),
    (["--core", "transformer"], ["unknown core 'transformer'", "rnn, lstm, gru"]),
    (["--lower-hidden", "0"], ["lower_hidden 0"]),
    (["--num-glimpses", "3"], ["--num-glimpses"]),
]


@pytest.mark.parametrize("flags, parts", WRONG, ids=lambda value: "_".join(value) if value[0][:2] == "--" else "")
def test_bad_input_is_one_line_and_nothing_is_written(refused, flags, parts):
    line = refused(dram, FLAGS, *flags)
    assert [part for part in parts if part not in line] == [] and not Path("run").exists()


def test_ram_refuses_sequences(refused):
    line = refused(ram, ["quick", "--task", "pairs100_sequence", "--batch-size", "8"])
    assert "its labels are sequences, which RAM does not read; DRAM does" in line and not Path("run").exists()


def test_pairs_of_images_that_are_not_ten_classes_are_refused(refused, tmp_path):
    np.savez(tmp_path / "three.npz", images=np.zeros((60, 12, 12), np.uint8), labels=np.arange(60) % 3)
    line = refused(dram, FLAGS, "--data", str(tmp_path / "three.npz"))
    assert "pairs need the classes 0 to 9" in line and not Path("run").exists()
