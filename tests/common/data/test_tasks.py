"""The registry of tasks, and tasks that are given as `module:name`."""

import sys
import types

import pytest

from common.data.recipes.base import Plain
from common.data.tasks import TASKS, Task, find_task

OWN = Task("my_digits", Plain(), "for these tests", 1)


@pytest.fixture
def my_tasks(monkeypatch, unchecked):
    """A module of the user with a task and with objects that are none."""
    module = types.ModuleType("my_tasks")
    module.digits, module.number, module.bad_recipe = OWN, 3, Task("bad", "recipe", "for these tests", 1)
    monkeypatch.setitem(sys.modules, "my_tasks", module)


@pytest.mark.parametrize(
    ("name", "height", "distractors", "size"),
    [
        ("translated60", 60, 0, None),
        ("cluttered60", 60, 4, 8),
        ("cluttered100", 100, 8, 8),
        ("augmented100", 100, 8, 9),
    ],
)
def test_canvases_are_those_of_the_papers(name, height, distractors, size):
    canvas = TASKS[name].recipe
    assert (canvas.height, canvas.width, canvas.num_distractors) == (height, height, distractors)
    assert size is None or canvas.distractor_size == size


def test_task_of_a_module_is_found(my_tasks):
    assert find_task("my_tasks:digits") is OWN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clutered60", r"^unknown task 'clutered60': did you mean 'cluttered60'\? choose from mnist28, .*module:name$"),
        ("?", r"^unknown task '\?': choose from mnist28, translated60"),
        ("no_such_module:task", "^task 'no_such_module:task': No module named 'no_such_module'; choose from mnist28"),
        (
            "my_tasks:absent",
            "^task 'my_tasks:absent': module 'my_tasks' has no 'absent'; choose",
        ),
        ("my_tasks:number", "^task 'my_tasks:number': not a Task"),
        (
            "my_tasks:bad_recipe",
            "^task 'my_tasks:bad_recipe': its recipe is 'recipe', where a common.data.Recipe is expected",
        ),
    ],
)
def test_unknown_task_is_explained(my_tasks, name, message):
    with pytest.raises(ValueError, match=message):
        find_task(name)
