"""The code of the README runs as it stands, and its numbers are those of the results."""

import re
from pathlib import Path

import jax
import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\((?!http)([^)#]+)")


def test_the_library_example_trains() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert np.isfinite(float(names["metrics"]["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["params"]))


def test_the_readme_is_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_the_readme_links_to_files() -> None:
    assert len(LINK.findall(README)) > 20


def test_the_numbers_of_the_readme_are_those_of_the_results() -> None:
    rows = re.findall(r"^\| \[.*$", README, flags=re.MULTILINE)
    results = (ROOT / "results" / "README.md").read_text().splitlines()
    headlines = results[results.index("| --- | --- | --- | --- | --- | --- | --- |") + 1 :]
    assert [row.replace("](results/", "](") for row in rows] == headlines[: headlines.index("")]


def test_the_citation_names_the_version_and_the_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"version = {citation['version']}\n" in (ROOT / "setup.cfg").read_text()
    assert [(paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]] == [
        ("Mnih", 2014),
        ("Ba", 2014),
        ("Jaderberg", 2015),
    ]
