"""The command line of sweeps: flags with several values, and errors of one line."""

import re
import sys

import pytest

from experiments.sweeps.options import Options, parse
from experiments.sweeps.study import make_plan


def cells(line):
    study, options = parse(line.split())
    plan = make_plan(study)
    return plan, options


def test_several_values_are_an_axis_and_one_holds_for_all():
    plan, options = cells("ram --preset mnist28 --num-glimpses 2 3 --sigma 0.05 0.1 --steps 9 --seeds 3")
    assert plan.names == ("num_glimpses", "sigma") and len(plan.cells) == 12 and plan.overrides == {"steps": 9}
    assert options == Options() and plan.seeds == (0, 1, 2)


def test_seeds_can_be_listed():
    assert cells("cnn --preset mnist28 --seed 4 7")[0].seeds == (4, 7)


def test_zip_pairs_the_values_of_fields():
    line = "ram --preset mnist28 --num-glimpses 2 3 --sigma 0.2 0.1 --zip num-glimpses sigma --core rnn gru"
    plan, _ = cells(f"{line} --replicates 2 4 --batch-size 64 32 --zip replicates batch_size")
    assert [axis.names for axis in plan.axes] == [*[("num_glimpses", "sigma"), ("core",), ("replicates", "batch_size")]]
    assert len(plan.cells) == 8


@pytest.mark.parametrize(
    "flags, value",
    [
        ("--no-keep-best", (False,)),
        ("--keep-best False True", (False, True)),
        ("--no-keep-best --seeds 2", (False,)),
    ],
)
def test_boolean_flags_are_switches_or_axes(flags, value):
    plan, _ = cells(f"ram --preset mnist28 {flags}")
    assert tuple(dict.fromkeys(cell.config.training.keep_best for cell in plan.cells)) == value


def test_values_may_begin_with_a_dash():
    plan, _ = cells("cnn --preset mnist28 --weight-decay -1 -2.5e-3")
    assert [cell.config.optimizer.weight_decay for cell in plan.cells] == [-1.0, -0.0025]


def test_options_of_the_launcher_are_read():
    line = "cnn --preset=mnist28 --launcher ray --ray-address a:1 --gpus 0.5 --sweep-dir x/y --dry-run"
    _, options = cells(line)
    assert options.launcher == "ray" and options.ray_address == "a:1" and options.gpus == 0.5
    assert options.jobs == 1 and str(options.sweep_dir) == "x/y" and options.dry_run


def test_help_explains_axes_units_and_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        parse(["ram", "--preset", "mnist28", "--help"])
    text = " ".join(re.sub("[│─]", " ", capsys.readouterr().out).split())
    assert stop.value.code == 0
    for part in (
        *("several values are an axis", "location noise: normalised ('0.1', half the image is 1)"),
        *(
            "in pixels ('5px'). (default: 5px)",
            "Number T of glimpses of an episode. (default: 7)",
            "--zip",
            "--seeds INT",
        ),
        *("{add,multiply} ..", "Launcher of the cells: local", "quick: augmented100 in a hurry"),
    ):
        assert part in text
    assert "run-dir" not in text and "overwrite" not in text


WRONG = [
    ("", "no family given: give ram, dram, stn, soft_attention, colocalisation, cnn, module:NAME or study"),
    ("rma --preset quick", "unknown family 'rma': did you mean 'ram'? choose from ram, dram"),
    ("cnn", "no preset given: give --preset with one of augmented100, mnist28,"),
    ("cnn mnist28", "no preset given: give --preset mnist28"),
    ("cnn --preset mnist", "unknown preset 'mnist': did you mean 'mnist28'?"),
    ("cnn --preset mnist28 --unit 3", "did you mean '--units'?"),
    ("cnn --preset mnist28 --units", "units: give one or more values, each a whole number"),
    ("cnn --preset mnist28 --units 8 x", "units 'x': must be a whole number"),
    ("cnn --preset mnist28 --network fc resnet", "network 'resnet': must be one of fc, paper_cnn, article_cnn"),
    ("cnn --preset mnist28 --units 8 8", "units 8: given twice"),
    ("cnn --preset mnist28 --seeds 0", "seeds 0: must be their number, at least 1"),
    ("cnn --preset mnist28 --seeds two", "--seeds 'two': must be a whole number"),
    ("cnn --preset mnist28 --seed -4", "seed -4: must be from 0 to 4294967295"),
    ("cnn --preset mnist28 --seed 1 2 --seeds 2", "--seed with --seeds: give one of them"),
    ("cnn --preset mnist28 --zip units", "zip 'units': must be two fields or more, each once"),
    (
        "cnn --preset mnist28 --units 2 3 --zip units momentum",
        "zip 'units momentum': must be two fields or more, each once and with its values",
    ),
    ("cnn --preset mnist28 --jobs 0", "jobs 0: must be at least 1"),
    ("cnn --preset mnist28 --cpus nan", "--cpus 'nan': must be a number"),
    ("cnn --preset mnist28 --gpus -1", "gpus -1.0: must be at least 0"),
    ("cnn --preset mnist28 --launcher slurm", "'slurm'"),
    ("cnn --preset mnist28 --launcher ray --jobs 2", "jobs 2 with launcher 'ray': works only with --launcher local"),
    (
        "cnn --preset mnist28 --launcher ray --together vmap",
        "together 'vmap' with launcher 'ray': works only with --launcher local",
    ),
    ("cnn --preset mnist28 --gpus 0.5", "gpus 0.5 with launcher 'local': works only with --launcher ray"),
    ("cnn --preset mnist28 --ray-address a:1", "ray_address 'a:1' with launcher 'local': works only with"),
    ("cnn --preset mnist28 --retries 1", "retries 1 with launcher 'local': works only with --launcher ray"),
    ("study", "file is not given"),
    ("study absent.py", "study 'absent.py': must be a Python file that exists"),
    # Errors in the configuration of a cell, found before anything starts.
    ("cnn --preset mnist28 --units 8 0", "units 0: must be at least 1 (cell units 0, seed 0)"),
    ("cnn --preset mnist28 --seed 1 4294967296", "seed 4294967296: must be from 0 to 4294967295"),
    ("cnn --preset mnist28 --batch-size 8 999999", "batch_size 999999: there are 54000 training images, so at most"),
    ("dram --preset pairs100 --init-from absent", "init_from: run directory 'absent' holds no config.json"),
    ("cnn --preset mnist28 --weight-decay 0 -1", "weight_decay -1.0: must be at least 0"),
    ("cnn --preset mnist28 --sweep-dir file", "sweep directory 'file' is a file"),
    ("cnn --preset mnist28 --sweep-dir full", "sweep directory 'full' holds no sweep.json of a sweep"),
]


@pytest.mark.parametrize("line, message", WRONG, ids=[line or "nothing" for line, _ in WRONG])
def test_bad_input_is_one_line_and_nothing_is_written(sweep, tmp_path, line, message, monkeypatch):
    from experiments import ablate

    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    if line:
        status, out, err = sweep(*line.split())
    else:
        monkeypatch.setattr(ablate, "main", parse)
        status, out, err = sweep()
    assert status == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert message in err and sorted(tmp_path.rglob("*")) == before


def test_no_arguments_show_the_help(sweep):
    status, out, _ = sweep()
    assert status == 0 and "--num-glimpses 2 4 6 --replicates 1 4" in out and sys.argv


def test_without_ray_the_message_says_how_to_install_it(sweep, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = sweep(*["cnn", "--preset", "mnist28", "--launcher", "ray"])
    assert status == 2 and "launcher 'ray' needs Ray: pip install '.[ray]'" in err
