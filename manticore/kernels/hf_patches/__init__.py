"""Patches that make transformers' Mamba, Falcon Mamba, Mamba-2 and GPT-Neo run this package's kernels."""
