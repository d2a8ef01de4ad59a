"""Studies, their cells, and the command line of a cell."""

import dataclasses
import itertools

import pytest

from common.attention.config import RetinaConfig
from experiments.cli.command_line import parse_preset, user_errors
from experiments.families import FAMILIES
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.sweeps.cells import Cell, arguments, validate
from experiments.sweeps.study import Study, list_seeds, load_study, make_plan
from experiments.training.config import to_json

RAM = {"family": "ram", "preset": "mnist28"}


def test_every_combination_with_every_seed_in_a_fixed_order():
    plan = make_plan(Study(**RAM, axes={"sigma": ["0.1", "5px"], "num-glimpses": [2, 4, 3]}, seeds=2))
    rows = [(*plan.values(cell), cell.seed) for cell in plan.cells]
    assert plan.names == ("num_glimpses", "sigma"), "in the order of the configuration"
    assert rows == list(itertools.product([2, 4, 3], ["0.1", "5px"], [0, 1]))
    assert len({cell.id for cell in plan.cells}) == 12 and len({cell.setting for cell in plan.cells}) == 6
    assert plan.name == "ram-mnist28-num_glimpses-sigma"


def test_zipped_fields_are_paired():
    study = Study(**RAM, axes={"core": ["rnn", "gru"]}, zipped=[{"num_glimpses": [2, 4], "sigma": [0.2, 0.1]}])
    plan = make_plan(study)
    assert [plan.values(cell) for cell in plan.cells] == [
        *[(2, "0.2", "rnn"), (2, "0.2", "gru"), (4, "0.1", "rnn"), (4, "0.1", "gru")]
    ]


def test_a_new_field_with_its_default_does_not_change_the_identity_of_a_cell(monkeypatch):
    cell = Cell(FAMILIES["ram"], "mnist28", RAM_PRESETS["mnist28"][1])
    setting = cell.setting
    monkeypatch.setattr("experiments.sweeps.cells.to_json", lambda config: without_patience(to_json(config)))
    assert Cell(FAMILIES["ram"], "mnist28", cell.config).setting == setting


def without_patience(tree):
    """Return a configuration from before the field was added."""
    return tree | {"training": {name: value for name, value in tree["training"].items() if name != "patience"}}


def test_listed_seeds_and_overrides():
    plan = make_plan(Study(**RAM, axes={"replicates": [2]}, overrides={"steps": 7}, seeds=[4, 1]))
    assert [cell.seed for cell in plan.cells] == [4, 1] and plan.names == ()
    assert all(c.config.training.steps == 7 and c.config.model.estimator.replicates == 2 for c in plan.cells)
    assert plan.overrides == {"replicates": 2, "steps": 7}


def test_the_identity_of_a_cell_follows_from_its_configuration_alone():
    def ids(**study):
        return {cell.id: cell.config for cell in make_plan(Study(**RAM, **study)).cells}

    crossed = ids(axes={"num_glimpses": [2, 3, 4], "sigma": ["0.1", "0.2"]}, seeds=3)
    assert crossed.items() >= ids(axes={"num_glimpses": [4, 2]}, overrides={"sigma": "0.2"}, seeds=[2, 0]).items()
    assert crossed.items() >= ids(zipped=[{"sigma": [0.1, 0.2], "num_glimpses": [4, 3]}]).items()
    assert crossed.keys().isdisjoint(ids(axes={"num_glimpses": [5]}, overrides={"sigma": "0.2"}))
    preset = RAM_PRESETS["mnist28"][1]
    assert Cell(FAMILIES["ram"], "mnist28", preset).id != Cell(FAMILIES["ram"], "quick", preset).id


@pytest.mark.parametrize(
    "study, message",
    [
        (Study("rma", "quick"), "unknown family 'rma': did you mean 'ram'? choose from ram, dram,"),
        (Study("ram", "mnist"), "unknown preset 'mnist': did you mean 'mnist28'?"),
        (Study(**RAM, axes={"num_glimpsse": [2]}), "unknown field 'num_glimpsse': did you mean 'num_glimpses'?"),
        (Study(**RAM, axes={"run_dir": ["a"]}), "unknown field 'run_dir'"),
        (Study(**RAM, axes={"num_glimpses": [2, 2.5]}), "num_glimpses '2.5': must be a whole number"),
        (Study(**RAM, axes={"combine": ["add", "max"]}), "combine 'max': must be one of add, multiply"),
        (Study(**RAM, axes={"num_glimpses": [2, 3, 2]}), "num_glimpses 2: given twice"),
        (Study(**RAM, axes={"num_glimpses": []}), "num_glimpses []: must be one or more values"),
        (Study(**RAM, axes={"core": "lstm"}), "core 'lstm': must be one or more values"),
        (Study(**RAM, axes={"seed": [1, 2]}), "field 'seed' is no axis: give seeds"),
        (Study(**RAM, seeds=0), "seeds 0: must be their number, at least 1"),
        (Study(**RAM, seeds=[3, 3]), "seed 3: given twice"),
        (Study(**RAM, zipped=[{"num_glimpses": [2, 3], "sigma": [0.1]}]), "num_glimpses has 2, sigma has 1"),
        (Study(**RAM, axes={"sigma": [1]}, zipped=[{"sigma": [2], "core": ["rnn"]}]), "'sigma' is given twice"),
        (Study(**RAM, axes={"sigma": [1, 2]}, overrides={"sigma": 3}), "'sigma' is given twice"),
    ],
)
def test_bad_studies_are_one_line(study, message):
    with pytest.raises(ValueError) as error:
        make_plan(study)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "presets, family, axes",
    [
        (RAM_PRESETS, "ram", {"sigma_final": ["-1px"], "keep_best": [False], "data": ["a b.npz"], "discount": [1e-7]}),
        (RAM_PRESETS, "ram", {"sigma_final": [None], "sigma_schedule": ["constant"], "learned_sigma": ["global"]}),
        (CNN_PRESETS, "cnn", {"gradient_clip": [-2.5], "resize": [9], "network": ["paper_cnn"]}),
    ],
)
def test_the_command_line_of_a_cell_gives_its_configuration(presets, family, axes, tmp_path):
    for preset in presets:
        (cell,) = make_plan(Study(family, preset, axes, seeds=[12])).cells
        dash_m, module, *args = arguments(cell, tmp_path / "x", resume=True, reports=True)
        name, config = parse_preset("", "", presets, args)
        assert (dash_m, module, name) == ("-m", f"experiments.{family}", preset)
        assert dataclasses.replace(config, output=cell.config.output) == cell.config
        assert config.output.run_dir == tmp_path / "x" and config.output.resume and config.output.plots


STUDY = "from experiments.sweeps.study import Study\n"


def test_a_study_is_loaded_from_a_file(tmp_path):
    file = tmp_path / "depth.py"
    file.write_text(STUDY + "first = Study('ram', 'quick', {'num_glimpses': range(2, 5)})\n")
    name, study = load_study(str(file))
    assert name == "depth" and [c.config.model.agent.num_glimpses for c in make_plan(study).cells] == [2, 3, 4]
    file.write_text(file.read_text() + "second = Study('cnn', 'mnist28')\n")
    assert load_study(f"{file}:second")[1].family == "cnn" and load_study(f"{file}:first") == ("first", study)
    with pytest.raises(ValueError, match="makes several, give .*depth.py:NAME with one of first, second"):
        load_study(str(file))
    with pytest.raises(ValueError, match="unknown study 'secnd': did you mean 'second'"):
        load_study(f"{file}:secnd")


@pytest.mark.parametrize(
    "text, message", [("x = 1\n", "makes no Study"), ("import no_such_module\n", "No module named")]
)
def test_a_file_without_a_study_is_refused(tmp_path, text, message):
    (tmp_path / "s.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_study(str(tmp_path / "s.py"))
    with pytest.raises(ValueError, match="must be a Python file that exists"):
        load_study(str(tmp_path / "absent.py"))


@pytest.mark.parametrize("seeds", ["3", 2.0, [0.0, 1.0], True, None])
def test_seeds_that_are_not_whole_numbers_are_refused(seeds):
    with pytest.raises(ValueError) as error:
        list_seeds(seeds)
    assert str(error.value) == f"seeds {seeds!r}: must be their number, at least 1, or a list of whole numbers"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("axes", [("num_glimpses", [2, 3])], "must be a dictionary from fields to their values"),
        ("overrides", None, "must be a dictionary from fields to their values"),
        ("zipped", None, "must be a list of dictionaries from fields to their values"),
        ("zipped", ["sigma"], "must be a list of dictionaries from fields to their values"),
    ],
)
def test_a_study_of_other_containers_is_refused(unchecked, field, value, message):
    with pytest.raises(ValueError) as error:
        make_plan(Study(**RAM, **{field: value}))
    assert str(error.value) == f"{field} {value!r}: {message}"


def test_a_configuration_that_checks_itself_names_the_cell(monkeypatch):
    def check(self):
        if self.num_scales == 3:
            raise ValueError("three scales")

    monkeypatch.setattr(RetinaConfig, "__init__", _checked(RetinaConfig.__init__, check))
    with pytest.raises(ValueError, match=r"^three scales \(cell glimpse_size 4, num_scales 3\)$"):
        make_plan(Study(**RAM, axes={"num_scales": [2, 3], "glimpse_size": [4, 5]}))


def _checked(init, check):
    def checked(self, *args, **kwargs):
        init(self, *args, **kwargs)
        check(self)

    return checked


OWN = """
import flax.linen as nn
import jax.numpy as jnp

class Core(nn.Module):
    hidden: int
    num_glimpses: int

    def initial_state(self, batch_shape):
        return jnp.zeros((*batch_shape, self.hidden))

    def __call__(self, state, features):
        return state, undefined
"""


def test_code_of_ones_own_that_fails_names_the_cell_and_its_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_core.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    plan = make_plan(Study(**RAM, axes={"core": ["own_core:Core", "rnn"]}, overrides={"num_glimpses": 2}))
    with pytest.raises(SystemExit, match="2"), user_errors():
        validate(plan.cells, plan.describe)
    expected = "NameError: name 'undefined' is not defined (cell core own_core:Core, seed 0) (own_core.py, line 13)"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {expected}"


def test_cells_are_checked_without_rendering_and_continued_ones_without_their_warm_start(monkeypatch):
    def render(config):
        raise AssertionError("images are rendered")

    monkeypatch.setattr("experiments.sweeps.cells.load_dataset", render)
    plan = make_plan(Study("dram", "house_numbers_32_backward", overrides={"glimpse_network_from": "gone"}))
    validate(plan.cells, is_continued=lambda cell: True)
    with pytest.raises(ValueError, match="^glimpse_network_from: .*gone.*"):
        validate(plan.cells)
