"""Benchmarks: measured side by side in one run on the same machine, never as a bare time."""
