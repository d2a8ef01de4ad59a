"""Training runs: configuration, loop, run directory, provenance, restoring, warm starts."""
