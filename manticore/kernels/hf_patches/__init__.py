"""Patches that make transformers' Mamba layers and GPT-Neo run this package's kernels."""
