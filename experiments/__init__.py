"""The command lines: the only folder that reads, writes, logs or plots."""
