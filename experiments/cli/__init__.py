"""The command line: presets and flags, messages, tables, requests to stop."""
