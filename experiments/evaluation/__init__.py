"""Error rates and other measures of trained models."""
