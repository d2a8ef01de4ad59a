"""Let a trained agent look at pictures: ``python -m experiments.look AGENT IMAGE... [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.checks import Range, check_output, check_ranges
from common.data.own_images.resizing import ResizeMode
from experiments.cli.command_line import computing, parse
from experiments.output.files import write_bytes
from experiments.runs.trained_agents import load_agent


@dataclass(frozen=True)
class Looking:
    """Let a trained agent look at pictures, and print what it takes them for.

    With --output it also draws the path of glimpses over each picture and the class probabilities after each glimpse.
    """

    agent: Annotated[str, tyro.conf.Positional]
    """Name of an agent that comes with the repository, a file of experiments.export, or the folder of a run."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Picture files of any size, such as PNG or JPEG, that look like the images of the training: the agents that come
    with the repository read bright digits on black."""
    output: Path | None = None
    """Picture to draw: .png for a sheet, .gif for an animation with a frame for each glimpse."""
    episodes: Annotated[int, Range(0, 1000)] = 0
    """Sampled episodes whose class probabilities are averaged; 0 for the greedy one. The drawn path is the first's."""
    resize_mode: ResizeMode = "pad"
    """How the aspect ratio of a picture is treated: keep it and fill with black, keep it and cut off, or change it."""
    invert: bool = False
    """Swap dark and bright, for pictures of dark ink on paper."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Looking, "python -m experiments.look", args)
    with computing("interrupted"):
        look(config)


def look(config: Looking) -> None:
    """Look at each picture, print a line for each, and draw them.

    Raises:
      ValueError: there is no such agent, or a file is no picture.
      OSError: a picture cannot be read, or the output cannot be written.
    """
    check_ranges(config)
    check_output("output", config.output, ".png", ".gif")
    if not config.images:
        raise ValueError("no images given: give picture files after the agent")
    agent = load_agent(config.agent)
    looks = [
        agent.look(path, episodes=config.episodes, resize_mode=config.resize_mode, invert=config.invert)
        for path in config.images
    ]
    texts = []
    for path, each in zip(config.images, looks, strict=True):
        if isinstance(each.predicted, tuple):
            texts.append(" ".join(each.predicted) or "nothing")
            print(f"{path}: {texts[-1]}")
        else:
            texts.append(each.predicted)
            print(f"{path}: {each.predicted} ({100 * each.probabilities[-1].max():.1f}%)")
    if config.output is None:
        return
    from experiments.plots.looks import Seen, look_gif, look_sheet
    from experiments.plots.pictures import render

    names = agent.images.class_names
    seen = [
        Seen(f"{path.name}: {text}", each.image, each.locations, each.boxes, each.probabilities)
        for path, text, each in zip(config.images, texts, looks, strict=True)
    ]
    draw = look_gif if config.output.suffix.lower() == ".gif" else look_sheet
    write_bytes(config.output, render(config.output, lambda: draw(seen, names)))
    print(f"picture: {config.output}")


if __name__ == "__main__":
    main()
