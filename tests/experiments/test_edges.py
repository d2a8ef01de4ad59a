"""What people give by mistake, in every command that reads it: one line and status 2, or the run as it was meant."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import ablate, diagnose, ram, reproduce
from experiments.output.json_files import write_json
from experiments.output.results_shape import explain_misfit
from experiments.reports.stored_runs import read_groups
from experiments.sweeps import ray_cluster
from experiments.sweeps.directory import cell_folder, read_results
from experiments.sweeps.launchers import Stop
from experiments.sweeps.study import MOST_CELLS, Study, list_seeds, make_plan
from experiments.training import run_directory
from experiments.training.run_directory import read_json
from tests.experiments.results_maker import ERROR, results_of
from tests.experiments.training.small_runs import RAM

ROOT = Path(__file__).parents[2]


def one_line(capsys, main, *args):
    with pytest.raises(SystemExit) as stop:
        main(args)
    *_, line = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith("error: ")
    return line


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a module of the user's own in the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        name = f"edge_{abs(hash((text, str(tmp_path))))}"
        Path(f"{name}.py").write_text(text)
        return name

    return write


@pytest.mark.fault("code of the user's own", "named")
def test_a_study_that_exits_is_one_line(own, capsys):
    name = own("import sys\nsys.exit(0)\n")
    assert f"study '{name}.py' cannot be read: it calls exit()" in one_line(capsys, ablate.main, "study", f"{name}.py")


@pytest.mark.fault("code of the user's own", "named")
def test_a_module_that_exits_is_one_line(own, capsys):
    name = own("exit()\n")
    line = one_line(capsys, ablate.main, f"{name}:FAMILY", "--preset", "quick")
    assert f"family '{name}:FAMILY': the module calls exit() while it is imported; choose from ram, " in line


@pytest.mark.fault("code of the user's own", "named")
def test_a_function_that_exits_is_one_line(own, refused):
    name = own("import sys\n\ndef reward(logits, labels):\n    sys.exit(0)\n")
    line = refused(ram, RAM, "--reward", f"{name}:reward")
    assert f"SystemExit: 0 ({name}.py, line 4)" in line and not Path("run").exists()


@pytest.mark.parametrize("flag", ["--reward", "--advantage", "--surrogate", "--core", "--glimpse-network", "--task"])
@pytest.mark.fault("code of the user's own", "named")
def test_what_is_no_function_is_one_line(refused, flag):
    line = refused(ram, RAM, flag, "math:pi")
    assert "'math:pi': " in line and ": not a" in line and not Path("run").exists()


@pytest.mark.parametrize("seeds", [MOST_CELLS + 1, 10**12, 10**30])
def test_more_cells_than_fit_are_refused_with_an_estimate(seeds):
    with pytest.raises(ValueError, match=rf"^{seeds:,} cells take about .* GiB of memory to plan: give at most 100"):
        list_seeds(seeds)


def test_more_combinations_than_fit_are_refused():
    axes = {"num_glimpses": range(1, 101), "steps": range(1, 101)}
    with pytest.raises(ValueError, match=r"^1,000,000 cells take about 1\.9 GiB"):
        make_plan(Study("ram", "quick", axes, seeds=100))


def test_every_command_with_seeds_refuses_too_many(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    many = ("--seeds", str(10**12))
    for main, args in [(ablate.main, ("ram", "--preset", "quick")), (reproduce.main, ("mnih2014", "--dry-run"))]:
        assert "1,000,000,000,000 cells" in one_line(capsys, main, *args, *many)


def test_a_run_directory_is_the_same_however_it_is_written(go, capsys):
    go(ram, RAM, "--run-dir", "a")
    for begun, resumed in [("a/", "a"), ("./a", "a//")]:
        go(ram, RAM, "--init-from", begun, "--overwrite")
        go(ram, RAM, "--init-from", resumed, "--resume")
    assert read_json(Path("run/config.json"))["config"]["start"]["init_from"] == "a"


def test_a_name_where_a_run_is_meant_is_one_line_with_what_takes_names(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    line = one_line(capsys, diagnose.main, "quick")
    assert "'quick' holds no config.json: give the directory of a run, such as runs/ram-quick-seed0; " in line
    assert "experiments.look also take the name of a trained agent" in line and "that of a preset" in line


@pytest.mark.parametrize("variable", [None, "MATPLOTLIBRC", "MPLCONFIGDIR"])
def test_settings_of_matplotlib_that_cannot_be_decoded_stop_no_command(tmp_path, monkeypatch, variable):
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: caf\xe9\n")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    program = "import sys; sys.argv = ['-m']; import experiments, experiments.plots.pictures as p, matplotlib.figure; "
    program += "print(len(p.render('a.png', matplotlib.figure.Figure)) > 100)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT if variable else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


WRONG = [
    ({"test": {"greedy": {"error": []}}}, "test.greedy.error"),
    ({"test": {}}, "test.greedy"),
    ({"test": {"greedy": ERROR, "sampled": 3}}, "test.sampled"),
    ({"validation": None}, "validation"),
    ({"config": {"training": {"steps": "4"}}}, "config.training.steps"),
    ({"config": []}, "config"),
    ({"seed": "0"}, "seed"),
    ({"wall_seconds": {}}, "wall_seconds"),
    ({"overlap": {"test": 1}}, "overlap"),
    ({"cost": 1}, "cost"),
    ({"starts": [1]}, "starts"),
]


@pytest.mark.parametrize("entries, name", WRONG, ids=[name for _, name in WRONG])
def test_results_of_a_wrong_shape_are_named_wherever_they_are_read(tmp_path, entries, name):
    path = tmp_path / "results.json"
    write_json(path, results_of())
    assert explain_misfit(results_of()) is None and run_directory.read_results(tmp_path) and read_groups(tmp_path)
    write_json(path, results_of(**entries))
    for read in (run_directory.read_results, read_groups):
        with pytest.raises(ValueError, match=rf"^'{path}' .*{name}"):
            read(tmp_path)


@pytest.mark.parametrize(
    "entries", [{"family": "rum"}, {"preset": "none", "config": results_of()["config"] | {"data": {}}}]
)
def test_stored_results_of_an_unknown_model_are_named(tmp_path, entries):
    write_json(tmp_path / "run.json", results_of(**entries))
    with pytest.raises(ValueError, match="run.json' cannot be shown: (its family is 'rum'|no preset is called 'none')"):
        read_groups(tmp_path)


def test_a_cell_whose_results_have_a_wrong_shape_has_not_finished(tmp_path):
    (cell,) = make_plan(Study("cnn", "mnist28")).cells
    path = cell_folder(tmp_path, cell) / "results.json"
    write_json(path, results_of(**cell.identity()))
    assert read_results(tmp_path, cell) is not None
    write_json(path, results_of(**cell.identity(), test={"greedy": {}}))
    assert read_results(tmp_path, cell) is None


class LoneRay:
    """Stands in for Ray: a cluster with no machine, which runs nothing."""

    def remote(self, function):
        return self

    def options(self, **_):
        return self

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1}}]


def test_a_ray_cell_without_its_configuration_is_named_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "connected", lambda address: contextlib.nullcontext(LoneRay()))
    (cell,) = make_plan(Study("cnn", "mnist28")).cells
    folder, states = cell_folder(tmp_path, cell), []
    write_json(folder / "results.json", results_of())
    with Stop() as stop:
        ray_cluster.execute([cell], tmp_path, lambda cell, status: states.append(status), stop)
    (status,) = states
    assert status.state == "failed" and f"{str(folder)!r} has lost its config.json: restore it" in status.detail
    assert (folder / "results.json").exists()


def test_ray_takes_no_signal_of_a_sweep():
    before = signal.getsignal(signal.SIGTERM)
    with ray_cluster._signals_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, []), "what Ray starts inherits it"
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
