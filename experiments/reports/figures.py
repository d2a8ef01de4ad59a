"""The figures of a report: pictures embedded whole, each with a heading and a caption."""

from html import escape
from pathlib import Path

from experiments.reports.page import notice, picture

EPISODES_CAPTION = (
    "The greedy path of glimpses over each image, its numbers moved apart where they would overlap, "
    "with the boxes of every scale of the retina, and the "
    "belief over classes after each glimpse; a triangle marks the true class."
)
ANIMATION_CAPTION = (
    "From top to bottom: the boxes of each glimpse and the path so far; everything the retina has seen so "
    "far, dark blue where it has not looked; the belief over classes, the true one on a green ground."
)
RETINA_CAPTION = (
    "Each glimpse painted into the frame of its image, and below it the bare patches, fine to coarse; dark "
    "blue was not seen."
)
READING_CAPTION = (
    "The greedy path of glimpses over each image up to the end that was read, its numbers moved apart where they would "
    "overlap, with the finest box of each; what was read stands by the last glimpse of each symbol. Beside it the "
    "belief about the symbol after each glimpse: lines divide the symbols, frames mark the true ones, and what was "
    "read stands to the right."
)
READING_ANIMATION_CAPTION = (
    "From top to bottom: the boxes of each glimpse, the path and the symbols read so far; everything the retina has "
    "seen so far, dark blue where it has not looked; the belief about the symbol that is looked for, the true one on a "
    "green ground. A reading that has come to its end stays as it is."
)
# What is known of a figure, in the order of the report: file name without ending -> (heading, what it shows).
FIGURES = {
    "learning_curves": ("Learning curves", "Errors, losses and schedules over the steps of training."),
    "error_by_glimpse": (
        "Error after each glimpse",
        "Error of the belief after each glimpse of the greedy path, with its 95% interval.",
    ),
    "episodes": ("Episodes", EPISODES_CAPTION),
    "retina": ("What the retina saw", RETINA_CAPTION),
    "locations": (
        "Where the policy looks",
        "Share of images that the greedy path looks at in each place, by glimpse, on a square-root scale.",
    ),
    "transformers": (
        "What the transformers did",
        "Test images with the grid on which each transformer reads them, and below them what it saw there. "
        "Dashed boxes, where objects are to be found, are their true ones.",
    ),
    "training": (
        "The transformers while they learned",
        "The same before the first step and at each validation: a frame each.",
    ),
    "attention": (
        "Where it attends",
        "Test images, and below them the weights of each glimpse or head, from black for none to bright for the "
        "largest of them: the number says how many times as large as equal weights that is. Of glimpses also what "
        "they saw.",
    ),
    "error_by_length": (
        "Error by length",
        "Share of the sequences of each length that are not read right as a whole, with its 95% interval.",
    ),
    "confusion": (
        "Confusions",
        "True classes in rows, predicted in columns; colour is the share of the row, on a scale that is not linear.",
    ),
}
# The same where agents read sequences.
SEQUENCE_FIGURES = FIGURES | {
    "error_by_glimpse": (
        "Error after each glimpse",
        "Error of the belief about each symbol after each of its glimpses on the greedy path, with its 95% interval; "
        "of the images whose label has a symbol or its end there.",
    ),
    "episodes": ("Episodes", READING_CAPTION),
    "retina": ("What the retina saw", f"{RETINA_CAPTION} What was read stands above the last glimpse of each symbol."),
    "locations": (
        "Where the policy looks",
        "Share of images that the greedy path looks at in each place, by glimpse, of those where it has not come to "
        "the end before, on a square-root scale.",
    ),
    "confusion": (
        "Confusions of symbols",
        "True symbols in rows, up to the end symbol of each label and with it; predicted ones in columns. In the row "
        "of the end symbol too much was read, in its column too little.",
    ),
}


def figures(plots: Path, sequences: bool = False) -> str:
    """Every PNG and GIF of the folder `plots`, embedded, with a heading, alternative text and a caption.

    Args:
      plots: the folder.
      sequences: whether they are of an agent that reads sequences.
    """
    files = [path for path in plots.glob("*") if path.suffix.lower() in (".png", ".gif") and path.name[0] != "."]
    order = list(FIGURES)
    files.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.name))
    return "".join(_figure(path, sequences) for path in files) or notice("There are no figures in the folder plots.")


def _figure(path: Path, sequences: bool) -> str:
    """One embedded picture; an animation can be folded away."""
    moving = path.suffix.lower() == ".gif"
    heading, caption = (SEQUENCE_FIGURES if sequences else FIGURES).get(
        path.stem, (path.stem.replace("_", " ").capitalize(), f"The file {path.name}.")
    )
    if moving:
        heading = f"{heading}, animated"
        if path.stem == "episodes":
            caption = READING_ANIMATION_CAPTION if sequences else ANIMATION_CAPTION
    image = picture(path.read_bytes(), f"{heading}. {caption}", caption)
    if moving:
        return f"<details open><summary><h3>{escape(heading)}</h3></summary>{image}</details>"
    return f"<h3>{escape(heading)}</h3>{image}"
