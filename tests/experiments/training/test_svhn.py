"""The presets of SVHN on files of the real format: from archives to a trained epoch and its results."""

from pathlib import Path

import pytest

from experiments import cnn, dram, focus, forward_backward, stn
from experiments.training.run_directory import read_json, read_metrics
from tests.common.data.svhn.svhn_maker import make_parts

# 12 and 18 numbers less 3 for validation, of which 9 make a step: an epoch is three.
PARTS = {"train": 12, "extra": 18, "test": 5}
LOOP = "--steps 3 --batch-size 9 --log-every 3 --evaluate-every 3 --validation-episodes 1 --eval-episodes 2"
NETWORKS = "--conv-channels 2 --glimpse-features 8 --lower-hidden 8 --upper-hidden 8 --context-channels 2"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("svhn"), PARTS)


@pytest.fixture
def go(archives, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(module, line, run):
        module.main([*line.split(), "--data", str(archives), "--run-dir", run, "--no-plots", *LOOP.split()])
        return read_json(Path(run) / "results.json")

    return call


def test_dram_from_archives_to_results(go, capsys):
    results = go(dram, f"svhn --glimpses-per-target 1 {NETWORKS}", "forward")
    assert results["task"] == "svhn_numbers" and results["test"]["greedy"]["n"] == PARTS["test"]
    assert set(results["test"]["greedy"]["by_length"]) == {"1", "2", "3"}
    assert read_metrics(Path("forward"))[-1]["epoch"] == 1.0
    assert "test accuracy: " in capsys.readouterr().out


@pytest.mark.slow
def test_both_directions_and_a_second_look_from_archives_to_results(go, archives):
    flags = f"--glimpses-per-target 1 {NETWORKS}"
    go(dram, f"svhn {flags}", "forward")
    assert go(dram, f"svhn --reverse --glimpse-network-from forward {flags}", "backward")["test"]["greedy"]["n"] == 5
    forward_backward.main(["forward", "backward", "--episodes", "1"])
    assert read_json(Path("forward/forward_backward.json"))["test"]["forward-backward"]["greedy"]["n"] == PARTS["test"]
    focus.main(["forward", "--episodes", "1"])
    looked = read_json(Path("forward/focus.json"))
    assert (looked["task"], looked["image"], looked["crop"]) == ("svhn_numbers_110", [110, 110], [54, 54])


@pytest.mark.parametrize("module, line", [(cnn, "svhn"), (stn, "svhn"), (stn, "svhn_single")])
def test_whole_images_from_archives_to_results(go, module, line):
    results = go(module, f"{line} --width 0.02", "run")
    assert results["task"] == "svhn_numbers" and set(results["test"]) == {"greedy"}
    assert set(results["test"]["greedy"]["by_length"]) == {"1", "2", "3"}


def test_the_smaller_cnn_reads_tight_crops_of_them(go):
    results = go(cnn, "svhn_32 --width 0.1", "tight")
    assert results["task"] == "svhn_numbers_32" and results["test"]["greedy"]["n"] == PARTS["test"]
