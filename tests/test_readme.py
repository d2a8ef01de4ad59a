"""The code of the README runs as it stands, and its links lead somewhere."""

import re
from pathlib import Path

import jax
import numpy as np

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
