"""The figures of a run's page: embedded pictures with headings and captions."""

from pathlib import Path

from experiments.pages.page import Figure, embed_picture

EPISODES_CAPTION = (
    "The greedy path of glimpses over each image, with the boxes of every scale of the retina. Beside it the belief "
    "over classes after each glimpse; a triangle marks the true class. Numbers that would overlap are moved apart."
)
ANIMATION_CAPTION = (
    "From top to bottom: the boxes of each glimpse and the path so far; everything that the retina has read so "
    "far, dark blue elsewhere; the belief over classes, with the true class on a green ground."
)
RETINA_CAPTION = (
    "Each glimpse painted into the frame of its image, and below it its patches, fine to coarse. Dark blue was "
    "not read. The mean that a retina subtracts from its image is added back."
)
READING_CAPTION = (
    "The greedy path of glimpses over each image up to the predicted end, with the finest box of each glimpse. "
    "The predicted symbol stands by the last glimpse of each symbol. Beside it the belief about the symbol after each "
    "glimpse: lines divide the symbols, frames mark the true ones, and the predicted ones stand to the right."
)
READING_ANIMATION_CAPTION = (
    "From top to bottom: the boxes of each glimpse, the path and the symbols read so far; everything that the retina "
    "has read so far, dark blue elsewhere; the belief about the current symbol, with the true symbol on a "
    "green ground. An episode that has ended stays as it is."
)
DIAGNOSIS_CAPTION = (
    "Errors of the trained classifier, with 95% intervals: by the way in which locations are chosen, after each "
    "glimpse, by the place of the digit and by the fraction of its box that distractors cover. The oracle samples all "
    "locations but the first around the digit's centre, with the configured sigma. Sampled locations are on the "
    "digit if they lie in its box."
)
# Headings and captions by the file name without its ending, in the order of the page.
FIGURES = {
    "learning_curves": ("Learning curves", "Errors, losses and schedules over the steps of training."),
    "error_by_glimpse": (
        "Error after each glimpse",
        "Error of the belief after each glimpse of the greedy path, with its 95% interval.",
    ),
    "diagnosis": ("Diagnosis", DIAGNOSIS_CAPTION),
    "episodes": ("Episodes", EPISODES_CAPTION),
    "retina": ("Glimpses", RETINA_CAPTION),
    "locations": (
        "Locations of the policy",
        "Fraction of images whose greedy path has a location in each square, for each glimpse, on a square-root scale.",
    ),
    "transformers": (
        "Transformers",
        "Test images with the sampling grid of each transformer, and below them its output. "
        "In co-localisation dashed boxes are the true ones.",
    ),
    "training": (
        "Transformers during training",
        "Sampling grids and outputs before the first step and at each validation, one frame each.",
    ),
    "attention": (
        "Attention",
        "Test images, and below them the attention weights of each glimpse or head, from black for zero to bright for "
        "the largest. The number is the largest weight divided by a uniform weight. Below the weights of a glimpse "
        "stands its patch.",
    ),
    "error_by_length": (
        "Error by length",
        "Fraction of the sequences of each length with any error, with its 95% interval.",
    ),
    "confusion": (
        "Confusions",
        "True classes in rows, predicted classes in columns. Colour is the fraction of the row, on a nonlinear scale.",
    ),
}
# The headings and captions for agents that read sequences.
SEQUENCE_FIGURES = FIGURES | {
    "error_by_glimpse": (
        "Error after each glimpse",
        "Error of the belief about each symbol after each of its glimpses on the greedy path, with its 95% interval. "
        "It counts the images whose label has a symbol or the end symbol there.",
    ),
    "episodes": ("Episodes", READING_CAPTION),
    "retina": (
        "Glimpses",
        f"{RETINA_CAPTION} The predicted symbol stands above the last glimpse of each symbol.",
    ),
    "locations": (
        "Locations of the policy",
        "Fraction of images whose greedy path has a location in each square, for each glimpse, on a square-root scale. "
        "It counts the images whose end symbol has not been predicted before.",
    ),
    "confusion": (
        "Confusions of symbols",
        "True symbols in rows, up to and including the end symbol of each label; predicted symbols in columns. The row "
        "of the end symbol counts sequences read too long, its column sequences read too short.",
    ),
}


def run_figures(plots: Path, sequences: bool = False) -> list[Figure]:
    """Return every PNG and GIF of a folder, embedded, in the order of `FIGURES`.

    Args:
      plots: the folder.
      sequences: True for an agent that reads sequences.
    """
    files = [path for path in plots.glob("*") if path.suffix.lower() in (".png", ".gif") and path.name[0] != "."]
    order = list(FIGURES)
    files.sort(key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.name))
    return [_figure(path, sequences) for path in files]


def _figure(path: Path, sequences: bool) -> Figure:
    default = (path.stem.replace("_", " ").capitalize(), f"The file {path.name}.")
    heading, caption = (SEQUENCE_FIGURES if sequences else FIGURES).get(path.stem, default)
    if path.suffix.lower() == ".gif":
        heading = f"{heading}, animated"
        if path.stem == "episodes":
            caption = READING_ANIMATION_CAPTION if sequences else ANIMATION_CAPTION
    return Figure(heading, caption, embed_picture(path.read_bytes()))
