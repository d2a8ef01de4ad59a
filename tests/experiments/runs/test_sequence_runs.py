"""Reading back runs to measure them: no training images are made."""

import dataclasses

from common.data import Source
from experiments.runs.restore import read_run
from experiments.runs.sequence_runs import read_sequence_runs
from tests.experiments import numbers_maker


def test_no_training_images_are_made_for_a_measurement(readers, monkeypatch):
    loaded = []

    def load_task(name, *args, train=True, **options):
        """Load a task, with a single training image if training images are not needed."""
        loaded.append((name, train))
        dataset = numbers_maker.load_task(name, *args, **options)
        return dataset if train else dataclasses.replace(dataset, train=first(dataset.train))

    def first(source):
        return Source(source.images[:1], source.labels[:1])

    monkeypatch.setattr("experiments.training.config.load_task", load_task)
    (run,) = read_sequence_runs([readers / "large"])
    assert loaded == [("house_numbers_110", False)] and len(run.dataset.train.labels) == 1
    assert run.experiment.training.batch_size > 1
    read_run(readers / "large")
    assert loaded[1:] == [("house_numbers_110", True)]
