"""Sweeps over configurations: what `experiments.ablate` is made of."""
