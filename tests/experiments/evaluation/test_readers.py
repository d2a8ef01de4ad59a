"""Reading runs back to measure them: no training image is made for it."""

import dataclasses

from common.data import Source
from experiments.evaluation.readers import read_readers
from experiments.training.restore import read_run
from tests.experiments import numbers_maker


def test_who_measures_has_no_training_images_made(readers, monkeypatch):
    asked = []

    def load_task(name, *args, train=True, **options):
        """One training image where they are not needed, which is fewer than a batch."""
        asked.append((name, train))
        dataset = numbers_maker.load_task(name, *args, **options)
        return dataset if train else dataclasses.replace(dataset, train=first(dataset.train))

    def first(source):
        return Source(source.images[:1], source.labels[:1])

    monkeypatch.setattr("experiments.training.config.load_task", load_task)
    (run,) = read_readers([readers / "large"])
    assert asked == [("house_numbers_110", False)] and len(run.dataset.train.labels) == 1
    assert run.experiment.training.batch_size > 1
    read_run(readers / "large")
    assert asked[1:] == [("house_numbers_110", True)]
