"""Whole runs: train from a configuration to a report, restore, start from another run, and use a trained agent."""
