"""Tables of papers as commands: which rows there are, what is run, what is stored."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from experiments import reproduce
from experiments.reports.stored_runs import read_groups
from experiments.reproduce import Reproduction, find_rows

ROOT = Path(__file__).parents[2]
TINY = (
    "cnn mnist28 --network fc --units 4 --steps 200 --batch-size 8 --log-every 100 --evaluate-every 100"
    " --eval-batch-size 1000"
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Copy the folder of results, with a tiny command in the row of a small network."""
    shutil.copytree(ROOT / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    Path("results/mnih2014/fc256_28.json").unlink()
    path = Path("results/mnih2014/paper.toml")
    text = path.read_text().replace("cnn mnist28 --network fc --units 256", TINY)
    assert TINY in text
    path.write_text(text)
    return tmp_path / "results"


@pytest.mark.parametrize("table", sorted(path.parent.name for path in ROOT.glob("results/*/paper.toml")))
def test_every_command_of_a_table_is_one_of_a_family(table, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = find_rows(Reproduction(table, seeds=2))
    assert len({row.run for row in rows}) == len(rows) > 0


def test_each_seed_is_stored_once_and_the_page_is_written(results, monkeypatch, capfd):
    flags = ["mnih2014/28", "--rows", "fc256_28", "--seeds", "2"]
    reproduce.main(flags)
    files = [results / "mnih2014" / name for name in ("fc256_28.json", "fc256_28-seed1.json")]
    assert [json.loads(file.read_text())["seed"] for file in files] == [0, 1]
    page = (results / "mnih2014" / "README.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| fully connected, 2 layers of 256 | 1.69 |")]
    cost = [line for line in page.splitlines() if line.startswith("| fully connected, 2 layers of 256 | 784 | 100% |")]
    assert "2 (0, 1)" in row and "--units 4" in cost[0]
    capfd.readouterr()
    monkeypatch.setattr(reproduce, "run_sweep", None)  # Nothing is left to run.
    reproduce.main(flags)
    assert "2 of 2 seeds are stored" in capfd.readouterr().err

    # A seed of another configuration is never averaged with the others: the row removes it and runs it anew.
    other = json.loads(files[1].read_text())
    other["config"]["training"]["batch_size"] = 16
    files[1].write_text(json.dumps(other))
    with pytest.raises(ValueError, match="fc256_28.json and fc256_28-seed1.json differ in more than the seed"):
        read_groups(files[0].parent)
    studies = []
    monkeypatch.setattr(reproduce, "run_sweep", lambda study, options, resume_with: studies.append(study) or 0)
    reproduce.main(flags)
    assert f"the row: {files[1].relative_to(results.parent)}" in capfd.readouterr().err
    assert studies[0].seeds == [1] and files[0].exists()
    assert json.loads(files[1].read_text())["config"]["training"]["batch_size"] == 8


def test_a_quick_run_is_not_stored(results, monkeypatch, capsys):
    studies = []
    monkeypatch.setattr(reproduce, "run_sweep", lambda study, options, resume_with: studies.append(study) or 0)
    reproduce.main(["mnih2014/28", "--rows", "fc256_28", "cnn_28", "--budget", "quick"])
    assert [study.overrides["steps"] for study in studies] == [2, 200]
    assert "1 of 2 rows; about " in capsys.readouterr().err
    assert not (results / "mnih2014" / "fc256_28.json").exists()


def test_rows_that_are_stored_are_counted(results, capsys):
    reproduce.main(["mnih2014/28", "--dry-run", "--seeds", "3"])
    lines = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert "1 of 3" in lines["cnn_28"] and "0 of 3" in lines["fc256_28"]


def test_ctrl_c_ends_all_rows(results, monkeypatch, capsys):
    studies = []
    monkeypatch.setattr(reproduce, "run_sweep", lambda study, options, resume_with: studies.append(study) or 130)
    with pytest.raises(SystemExit, match="130"):
        reproduce.main(["mnih2014/28", "--rows", "fc256_28", "ram_28_2", "--budget", "quick"])
    assert len(studies) == 1
    monkeypatch.setattr(reproduce, "make_plan", lambda study: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit, match="130"):
        reproduce.main(["mnih2014/28", "--rows", "fc256_28"])
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command resumes"


@pytest.mark.parametrize(
    "args, said",
    [
        ("mnih2015", "unknown table 'mnih2015': did you mean 'mnih2014'?"),
        ("mnih2014/60", "unknown table '60'"),
        (
            "mnih2014 --rows nothing",
            "rows 'nothing': no row of mnih2014 contains one of these; its runs are fc256_28, ",
        ),
        ("mnih2014 --seeds 0", "seeds 0: must be at least 1"),
        ("mnih2014 --gpus 1", "gpus 1.0 with launcher 'local': works only with --launcher ray"),
    ],
)
def test_bad_input_is_one_line(results, capsys, args, said):
    with pytest.raises(SystemExit, match="2"):
        reproduce.main(args.split())
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line and line.startswith("error: ")
