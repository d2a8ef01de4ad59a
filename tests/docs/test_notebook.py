"""The notebook of the tutorials runs from top to bottom, and its agent learns."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "quickstart.ipynb"


def test_the_quickstart_runs_and_learns(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # The backend of the tests shows no figures in a notebook.
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    text = "".join(output.get("text", "") for output in outputs)
    errors = [float(number) for number in re.findall(r"(?:greedy|mean of ten): ([\d.]+)%", text)]
    # Of three classes, guessing has an error of 67%.
    assert len(errors) == 2 and max(errors) < 40
