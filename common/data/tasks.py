"""The tasks by name: recipes, and the images that they are applied to.

`common.data.dataset.load_task` loads a task. A task of your own is a `Task` object in a module of yours, named
`module:name`: docs/how-to/add_a_task.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.data.recipes.base import Plain, Recipe
from common.data.recipes.canvas import Canvas
from common.data.recipes.crops import Crop
from common.data.recipes.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.recipes.pairs import Pair
from common.data.source import LabelledSplits
from common.data.street_numbers import Numbers
from common.extensions import Extension


@dataclass(frozen=True)
class Task:
    """A data set as a recipe: how its images are made from labelled images, and from which.

    Attributes:
        name: the name under which it is loaded.
        recipe: how images and labels are made from those of the source.
        description: one line for people.
        seed: the seed of the fixed validation and test images, 0..2**32-1.
        numbers: settings of the multi-digit numbers that it is made from; None for all other tasks.
        source: a function without arguments that returns the labelled images; None for MNIST. The user's own images
            (`--data`) take precedence.
    """

    name: str
    recipe: Recipe
    description: str
    seed: int
    numbers: Numbers | None = None
    source: Callable[[], LabelledSplits] | None = None


TASKS = {
    task.name: task
    for task in (
        Task("mnist28", Plain(), "28x28, the digits", 28),
        Task("translated60", Canvas(60, 60), "60x60, one digit at a uniform position", 600),
        Task("cluttered60", Canvas(60, 60, 4, 8), "60x60, one digit and four 8x8 distractors", 604),
        Task("cluttered100", Canvas(100, 100, 8, 8), "100x100, one digit and eight 8x8 distractors", 1008),
        Task("augmented100", Canvas(100, 100, 8, 9), "100x100, one digit and eight 9x9 distractors", 1009),
        # Both pairs100 tasks show the same images.
        Task("pairs100", Pair("set", 100, 100, 8, 8), "100x100, a set of two digits, eight 8x8 distractors", 1002),
        Task("pairs100_sequence", Pair("sequence", 100, 100, 8, 8), "pairs100, labelled from left to right", 1002),
        Task("addition100", Pair("sum", 100, 100), "100x100, two digits, labelled with their sum", 1019),
        Task("house_numbers", Crop(54, 54), "54x54, rendered house numbers of 1 to 5 digits", 7, Numbers()),
        Task(
            "house_numbers_110",
            Crop(110, 110),
            "110x110, house_numbers in a wider view",
            7,
            Numbers(size=128, growth=2.6),
        ),
        Task(
            "house_numbers_new_fonts",
            Crop(54, 54),
            "house_numbers, tested on fonts never trained on",
            7,
            Numbers(test="new_fonts"),
        ),
        Task("svhn_numbers", Crop(54, 54), "54x54, the full numbers of SVHN", 8, Numbers(svhn=True)),
        Task(
            "svhn_numbers_110",
            Crop(110, 110),
            "110x110, svhn_numbers in a wider view",
            8,
            Numbers(svhn=True, size=128, growth=2.6),
        ),
        Task(
            "svhn_numbers_32",
            Crop(32, 32),
            "32x32, svhn_numbers tightly cropped, in gray, labels of five digits without an end symbol",
            8,
            Numbers(svhn=True, size=32, growth=1.0, grayscale=True, num_symbols=5),
        ),
        Task("distorted/R", Rotated(), "28x28, a digit rotated by up to 90 degrees", 2801),
        Task("distorted/RTS", RotatedScaledMoved(), "42x42, a digit rotated, scaled and translated", 4202),
        Task("distorted/P", Projected(), "28x28, a digit in perspective", 2803),
        Task("distorted/E", Elastic(), "28x28, a digit deformed by a thin-plate spline", 2804),
        Task("tc60", Canvas(60, 60, 6, 6), "60x60, one digit and six 6x6 distractors", 606),
        Task("two_channel_addition42", TwoChannelSum(), "42x42, two digits in two channels, their sum", 4205),
        Task("T84", Canvas(84, 84), "84x84, one digit at a uniform position", 840),
        Task("TC84", Canvas(84, 84, 16, 6), "84x84, one digit and sixteen 6x6 distractors", 846),
        Task("images", Plain(), "your own images, as they are", 0),
    )
}


def find_task(name: str) -> Task:
    """Return the registered task of this name, or import a user's task that is given as `module:name`.

    Raises:
        ValueError: the name is unknown, or what it names cannot be imported or is not a `Task`.
    """
    task = Extension("task", TASKS, base=Task).resolve(name)
    if not isinstance(task.recipe, Recipe):
        raise ValueError(f"task {name!r}: its recipe is {task.recipe!r}, where a common.data.Recipe is expected")
    return task
