"""Diagnose a trained agent: ``python -m experiments.diagnose RUN [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from common.checks import Range, check_ranges
from common.training.evaluation import error_interval
from experiments.cli.command_line import computing, parse
from experiments.cli.console import print_line
from experiments.cli.tables import diagnosis_tables, print_tables
from experiments.evaluation.diagnosis import WAYS, diagnose
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.runs.restore import RestoredRun, read_run
from experiments.training.config import load_evaluation_images
from experiments.training.programs import final_predictor
from experiments.training.provenance import environment
from experiments.training.run_directory import write_sealed


@dataclass(frozen=True)
class Diagnosis:
    """Measure where the error of a trained agent comes from.

    Prints the error of the trained classifier by the way in which locations are chosen: learned, random, at the centre,
    and by an oracle that knows where the digit is. Also the error after each glimpse, by the place of the digit, and by
    clutter. Writes diagnosis.json and plots/diagnosis.png into the run directory, and the report anew if there is one.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    split: Literal["validation", "test"] = "validation"
    """Images to measure on. Choose between settings on validation alone."""
    episodes: Annotated[int, Range(1)] = 10
    """Sampled episodes on each image whose class probabilities are averaged."""
    batch_size: Annotated[int, Range(1)] = 500
    """Images in one compiled call."""
    classifier: Path | None = None
    """Folder of a run whose network sees the whole image, such as one of experiments.cnn on the same task; it adds a
    row."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Diagnosis, "python -m experiments.diagnose", args)
    with computing("interrupted; the run is unchanged"):
        run(config)


def run(config: Diagnosis) -> dict[str, Any]:
    """Diagnose a run, print the tables and write its files.

    Raises:
      ValueError: the folder holds no run of an agent that predicts one class, or a number is out of range.
      OSError: a file cannot be written.
    """
    from experiments.pages.run_page import write_report
    from experiments.plots.diagnosis import diagnosis_figure
    from experiments.plots.pictures import draw_picture

    check_ranges(config)
    restored = read_run(config.run_dir, load_evaluation_images)
    attention = restored.built.attention
    if attention is None or attention.sequence is not None:
        kind = "reads sequences" if attention is not None else "chooses no locations"
        allowed = "give a run of an agent that predicts one class"
        raise ValueError(f"run {str(config.run_dir)!r}: a model that {kind} cannot be diagnosed; {allowed}")
    if (locations := restored.experiment.model.policy.locations) != "learned":
        raise ValueError(f"run {str(config.run_dir)!r}: its locations are {locations!r}, and only learned ones compare")
    names, classifier = dict(WAYS), None
    if config.classifier is not None:
        classifier = _read_classifier(config.classifier, restored.dataset.name)
    print_line(f"{restored.built.summary}; after step {restored.step()}; {config.split} images")
    result = diagnose(attention, restored.params(), restored.dataset, config.split, config.episodes, config.batch_size)
    if classifier is not None:
        result["by_locations"]["whole"] = _whole_image_error(classifier, config)
        names["whole"] = f"whole image ({classifier.run_dir.name})"
    print_tables(diagnosis_tables(result, names))
    facts = {"after_step": restored.step(), "names": names} | environment()
    write_sealed(config.run_dir / "diagnosis.json", facts | result)
    draw_picture(config.run_dir / "plots" / "diagnosis.png", lambda: diagnosis_figure(result, names))
    if (config.run_dir / "report.html").exists():
        write_report(config.run_dir)
    print(f"diagnosis: {config.run_dir / 'diagnosis.json'}")
    return result


def _read_classifier(run_dir: Path, task: str) -> RestoredRun:
    """Restore the run of a classifier.

    Raises:
      ValueError: it was trained on another task, or it samples locations.
    """
    run = read_run(run_dir, load_evaluation_images)
    if run.dataset.name != task or run.built.model.stochastic:
        raise ValueError(f"classifier {str(run_dir)!r}: give a run on {task!r} that sees the whole image")
    return run


def _whole_image_error(run: RestoredRun, config: Diagnosis) -> dict[str, Any]:
    """Return the error of the classifier on the same images."""
    predict = final_predictor(run.experiment, run.built.model, batch_size=config.batch_size)
    images, labels = getattr(run.dataset, config.split)[:2]
    return error_interval(predict(run.params(), jax.random.key(SPLIT_SEEDS[config.split]), images).greedy, labels)


if __name__ == "__main__":
    main()
