"""The notebook of the tutorials runs from top to bottom, and its agent learns."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "quickstart.ipynb"


def test_the_quickstart_runs_and_learns(capsys):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    names, before = {}, plt.get_fignums()
    for number, source in enumerate(code):
        exec(compile(source, f"cell {number}", "exec"), names)
    figures = set(plt.get_fignums()) - set(before)
    for figure in figures:
        plt.close(figure)
    assert len(figures) == 2
    errors = re.findall(r"(?:greedy|mean of ten): ([\d.]+)%", capsys.readouterr().out)
    # Of three classes, guessing has an error of 67%.
    assert len(errors) == 2 and max(map(float, errors)) < 40
