"""Shared pieces of all output: atomic files, numbers as text, names of read-outs, stored results of presets."""
