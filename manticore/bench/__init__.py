"""Timings of the kernels and of a search step on this machine, against the implementations they replace."""
