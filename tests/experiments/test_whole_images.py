"""The command lines of differentiable attention, from their flags to their pictures."""

from pathlib import Path

import pytest

from experiments import soft_attention, stn
from experiments.presets import SOFT_PRESETS, STN_PRESETS
from experiments.run_directory import read_json

pytestmark = pytest.mark.usefixtures("compile_once")
LOOP = "--task images --steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --seed 5"


@pytest.mark.parametrize(
    "module, line, picture",
    [
        (stn, "RTS_st_fcn --units 8 --localisation-units 4 --downsample 1", "transformers.png"),
        (stn, "RTS_fcn --units 8", None),
        (soft_attention, "cluttered60 --units 8 --core-hidden 8 --num-glimpses 2", "attention.png"),
        (soft_attention, "cluttered60_additive --filters 2 --layers 2 --hidden 8", "attention.png"),
    ],
)
def test_run_from_flags_to_pictures(go, capsys, module, line, picture):
    go(module, [*line.split(), *LOOP.split()])
    results = read_json(Path("run/results.json"))
    assert results["model"] == module.__name__.rpartition(".")[2] and results["seed"] == 5
    assert set(results["test"]) == {"greedy"} and results["test"]["greedy"]["n"] == 15
    drawn = {path.name for path in Path("run/plots").iterdir()}
    assert drawn == {"learning_curves.png", "confusion.png"} | ({picture} if picture else set())
    assert "test accuracy: " in capsys.readouterr().out and Path("run/report.html").is_file()


@pytest.mark.parametrize(
    "module, line, said",
    [
        (stn, "RTS --downsample 0", "downsample 0: must be 1 or more"),
        (stn, "RTX", "unknown preset 'RTX': did you mean 'RTS'?"),
        (stn, "R", "network 'cnn' on 12x12 images: needs at least 21x21"),
        (soft_attention, "cluttered60 --num-glimpses 0", "num_glimpses 0: must be at least 1"),
        (soft_attention, "cluttered60_additive --layers 9", "layers 9: 12x12 images can be halved 3 times at most"),
    ],
)
def test_bad_input_is_one_line(refused, module, line, said):
    assert said in refused(module, [*line.split(), *LOOP.split()])


def test_every_transformer_has_its_counterpart_without():
    names = [name for name, (_, e) in STN_PRESETS.items() if e.model.transformer.place == "none"]
    assert sorted(names) == ["E_cnn", "E_fcn", "P_cnn", "RTS_cnn", "RTS_fcn", "R_cnn", "tc60_cnn"]
    budgets = {e.training for _, e in STN_PRESETS.values()}
    assert len(budgets) == 1, "of one budget"
    assert {e.model.attention for _, e in SOFT_PRESETS.values()} == {"pooling", "filter_bank"}
