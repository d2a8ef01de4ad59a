"""Benchmarks that compare programs in one run on the same machine, because times alone mean little."""
