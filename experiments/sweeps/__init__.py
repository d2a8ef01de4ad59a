"""Sweeps over configurations: the parts of `experiments.ablate`."""
