"""Reading runs back to measure them: no training image is made for it."""

import functools

from common.data import Source
from experiments.readers import read_readers
from experiments.restore import read_run
from tests.experiments import numbers_maker


def test_who_measures_has_no_training_images_rendered(readers, monkeypatch):
    asked = []

    def load_task(name, *args, num_images=None, **options):
        """As many training images as are asked for, which is fewer than a batch."""
        asked.append((name, num_images))
        dataset = numbers_maker.load_task(name, *args, **options)
        if num_images is None:
            return dataset
        return functools.partial(dataset.__class__, **vars(dataset) | {"train": first(dataset.train, num_images[0])})()

    def first(source, count):
        return Source(source.images[:count], source.labels[:count])

    monkeypatch.setattr("experiments.config.load_task", load_task)
    (run,) = read_readers([readers / "large"])
    assert asked == [("house_numbers_110", (1, 5_000, 10_000))] and len(run.dataset.train.labels) == 1
    assert run.experiment.training.batch_size > 1
    read_run(readers / "large")
    assert asked[1:] == [("house_numbers_110", None)]
