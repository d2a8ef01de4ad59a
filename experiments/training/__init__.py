"""Training: configuration, loop, programs, run directory, provenance."""
