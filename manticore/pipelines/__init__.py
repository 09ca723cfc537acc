"""One command per file: each `run` is the list of its steps, in order."""
