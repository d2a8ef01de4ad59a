"""The tasks of docs/how-to/add_a_task.md train."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from common.data import blank_task, find_task, load_task
from experiments import ram

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add_a_task.md"
SMALL = "--num-glimpses 2 --num-scales 1 --core rnn --core-hidden 8 --glimpse-features 8 --steps 2 --batch-size 4"
QUICK = "--optimizer adam --evaluate-every 2 --eval-episodes 1 --validation-episodes 1 --no-plots"


@pytest.fixture
def my_tasks(tmp_path, monkeypatch):
    """The folder of my_tasks.py, which holds the code of the page."""
    recipe, source = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert max(len(recipe.splitlines()), len(source.splitlines())) < 40
    (tmp_path / "my_tasks.py").write_text(recipe + source)
    np.savez(tmp_path / "own.npz", images=np.full((60, 12, 12), 200, np.uint8), labels=np.arange(60) % 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("flags", ["", pytest.param("--data own.npz", marks=pytest.mark.slow)])
def test_command_of_the_page_trains(my_tasks, flags):
    (command,) = re.findall(r"python -m experiments.ram (.*)", PAGE.read_text())
    if not flags:
        # Evaluating 16,000 digits takes long: the stripes stand for a task without --data.
        command = command.replace("occluded", "stripes")
    ram.main([*command.split(), *flags.split(), *SMALL.split(), *QUICK.split(), "--run-dir", "run"])
    results = json.loads((my_tasks / "run" / "results.json").read_text())
    assert results["task"] == command.split()[-1] and np.isfinite(results["test"]["greedy"]["error"])


def test_images_are_digits_on_noise_behind_a_square(my_tasks):
    data = load_task("my_tasks:occluded", data="own.npz")
    assert data.name == "my_tasks:occluded" and data.class_names == ("0", "1", "2")
    for image in data.test.images[..., 0]:
        black = np.argwhere(image == 0)
        (top, left), (bottom, right) = black.min(axis=0), black.max(axis=0)
        assert (bottom - top, right - left) == (7, 7) and len(black) == 64 and (image[image > 0] == 200).all()
    assert blank_task("my_tasks:occluded").image_shape == (28, 28, 1)


def test_source_of_the_page_is_loaded(my_tasks):
    data = load_task("my_tasks:stripes")
    assert data.image_shape == blank_task("my_tasks:stripes").image_shape == (20, 20, 1)
    assert data.class_names == ("horizontal", "vertical") and len(data.train.labels) == 200
    horizontal = data.test.images[data.test.labels == 0]
    assert (horizontal == horizontal[:, :, :1]).all()
    assert find_task("my_tasks:stripes").description.startswith("20x20")
