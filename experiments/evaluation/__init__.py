"""Error rates of trained models, other measures, and combinations of runs."""
