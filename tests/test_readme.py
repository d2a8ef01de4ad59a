"""The code of the README and of the documents runs as it stands."""

import importlib
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import ram

ROOT = Path(__file__).parents[1]


def test_the_library_example_trains() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert np.isfinite(float(names["metrics"]["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["params"]))


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_estimator_of_the_document_trains(tmp_path, monkeypatch) -> None:
    page = (ROOT / "docs" / "adding_an_estimator.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (command,) = re.findall(r"python -m experiments.ram (.*)", page)
    assert len(code.splitlines()) < 30
    (tmp_path / "my_variants.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    np.savez("images.npz", images=np.zeros((60, 12, 12), np.uint8), labels=np.arange(60) % 3)
    small = "--task images --data images.npz --num-glimpses 2 --num-scales 1 --core rnn --core-hidden 8 --steps 2"
    quick = "--batch-size 4 --evaluate-every 2 --eval-episodes 1 --validation-episodes 1 --no-plots"
    ram.main([*command.split(), *small.split(), *quick.split(), "--run-dir", "run"])
    assert np.isfinite(json.loads((tmp_path / "run" / "results.json").read_text())["test"]["greedy"]["error"])
    advantage = importlib.import_module("my_variants").group_relative
    rewards = jax.numpy.array([1.0, 3.0, 2.0])[None, :, None]
    np.testing.assert_allclose(
        advantage(rewards, None, discount=1.0)[0, :, 0], np.array([-1, 1, 0]) * 1.5**0.5, atol=1e-5
    )
    with pytest.raises(SystemExit, match="2"):
        ram.main([*command.split(), *small.split(), *quick.split(), "--replicates", "1", "--run-dir", "other"])
    assert not (tmp_path / "other").exists()
