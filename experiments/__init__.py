"""The command lines: the only folder that logs, plots or reports."""
