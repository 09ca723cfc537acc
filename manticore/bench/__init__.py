"""Benchmarks: both sides of a comparison timed in one run, in turns, and their ratio told with what was promised."""
