"""The family of an experiment, which the code passes along beside it."""

from experiments.families import FAMILIES


def family_of(experiment):
    """Return the family whose configuration this is."""
    return next(family for family in FAMILIES.values() if family.experiment is type(experiment))


def build(experiment, dataset):
    """Build the model of an experiment."""
    return family_of(experiment).build(experiment, dataset)
