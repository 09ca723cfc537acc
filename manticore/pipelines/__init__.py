"""One verb a file: each `run` reads as what happens, in the order in which it happens."""
