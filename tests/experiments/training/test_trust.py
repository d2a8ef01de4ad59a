"""Code that a run names is run only if its user has run it before, or allows it."""

import sys
from pathlib import Path

import pytest

from experiments import evaluate, ram
from experiments.look import main as look
from experiments.runs.restore import read_experiment
from experiments.training.provenance import add_start
from tests.experiments.training.small_runs import RAM

REWARD = """
from pathlib import Path

Path("imported").touch()

def correct(logits, labels):
    return 0.0 * logits[..., 0]
"""


@pytest.fixture
def sent(go, tmp_path, monkeypatch):
    """Leaves a run with a reward of its own, as somebody else made it, and the file of the reward."""
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "theirs"))
    monkeypatch.syspath_prepend(tmp_path)
    name = f"sent_{tmp_path.name}".replace("-", "_")
    source = Path(f"{name}.py")
    source.write_text(REWARD)
    go(ram, RAM, "--reward", f"{name}:correct")
    evaluate.main(["run"])  # The one who trained it is not asked.
    Path("imported").unlink()
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "mine"))
    return source


@pytest.mark.fault("code of the user's own", "named")
def test_code_of_others_is_not_imported_until_it_is_allowed_and_asked_for_again_when_it_changes(sent, capsys):
    for command, *args in ((evaluate.main, "run"), (look, "run", "a.png")):
        with pytest.raises(SystemExit, match="2"):
            command(args)
        *_, line = capsys.readouterr().err.splitlines()
        assert f"'run' uses {sent.stem}:correct of " in line and "give --trust-code to experiments.evaluate" in line
    assert not Path("imported").exists()
    evaluate.main(["run", "--trust-code"])
    evaluate.main(["run"])
    sent.write_text(REWARD + "# changed")
    with pytest.raises(ValueError, match="code that you have not run yet"):
        read_experiment(Path("run"))


def test_a_cache_that_cannot_be_written_stops_no_training(go, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "file"))
    monkeypatch.syspath_prepend(tmp_path)
    Path("own_reward_here.py").write_text(REWARD)
    go(ram, RAM, "--reward", "own_reward_here:correct")
    assert Path("run/results.json").exists()


def test_every_start_of_a_run_remembers_its_code(tmp_path, monkeypatch):
    """Also that of a cell which is batched with others."""
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "cache"))
    add_start(tmp_path, {"images": "0"}, {"mine:f": "a1", "mine:g": "b2"})
    assert {path.name for path in (tmp_path / "cache" / "trusted_code").iterdir()} == {"a1", "b2"}
