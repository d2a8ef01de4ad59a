"""Studies behind the results: ``python -m experiments.ablate study experiments/studies/FILE.py``."""
