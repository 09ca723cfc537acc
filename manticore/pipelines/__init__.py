"""One command per file: its `run` has the steps of the command, in order."""
