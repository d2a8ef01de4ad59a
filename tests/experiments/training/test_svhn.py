"""The presets of SVHN on files in its format, from archives to results."""

from pathlib import Path

import pytest

from experiments import cnn, dram, focus, forward_backward, stn
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from tests.common.data.svhn.svhn_maker import make_parts

# 12 and 18 numbers, less 3 for validation: an epoch has three steps of 9 images.
PARTS = {"train": 12, "extra": 18, "test": 5}
LOOP = "--steps 3 --batch-size 9 --log-every 3 --evaluate-every 3 --validation-episodes 1 --eval-episodes 2"
NETWORKS = "--conv-channels 2 --glimpse-features 8 --lower-hidden 8 --upper-hidden 8 --context-channels 2"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("svhn"), PARTS)


@pytest.fixture
def go(archives, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARD_ATTENTION_CACHE", "cache")

    def call(module, line, run):
        module.main([*line.split(), "--data", str(archives), "--run-dir", run, "--no-plots", *LOOP.split()])
        return read_json(Path(run) / "results.json")

    return call


@pytest.mark.slow
def test_dram_trains_on_archives(go, capsys):
    results = go(dram, f"svhn --glimpses-per-target 1 {NETWORKS}", "forward")
    assert results["task"] == "svhn_numbers" and results["test"]["greedy"]["n"] == PARTS["test"]
    assert set(results["test"]["greedy"]["by_length"]) == {"1", "2", "3"}
    assert read_metrics(Path("forward"))[-1]["epoch"] == 1.0
    assert "test accuracy: " in capsys.readouterr().out


@pytest.mark.slow
def test_forward_backward_and_focus_run_on_archives(go, archives):
    flags = f"--glimpses-per-target 1 {NETWORKS}"
    go(dram, f"svhn {flags}", "forward")
    assert go(dram, f"svhn --reverse --glimpse-network-from forward {flags}", "backward")["test"]["greedy"]["n"] == 5
    forward_backward.main(["forward", "backward", "--episodes", "1"])
    assert read_json(Path("forward/forward_backward.json"))["test"]["forward-backward"]["greedy"]["n"] == PARTS["test"]
    focus.main(["forward", "--episodes", "1"])
    focused = read_json(Path("forward/focus.json"))
    assert (focused["task"], focused["image"], focused["crop"]) == ("svhn_numbers_110", [110, 110], [54, 54])


@pytest.mark.slow
@pytest.mark.parametrize("module, line", [(cnn, "svhn"), (stn, "svhn_single")])
def test_classifiers_train_on_archives(go, module, line):
    results = go(module, f"{line} --width 0.02", "run")
    assert results["task"] == "svhn_numbers" and set(results["test"]) == {"greedy"}
    assert set(results["test"]["greedy"]["by_length"]) == {"1", "2", "3"}


def test_a_small_network_trains_on_tight_crops(go):
    results = go(cnn, "svhn_32 --network fc --units 8", "tight")
    assert results["task"] == "svhn_numbers_32" and results["test"]["greedy"]["n"] == PARTS["test"]
