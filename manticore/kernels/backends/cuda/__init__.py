"""Kernels of the packages mamba-ssm and causal-conv1d for CUDA, called with this package's arguments."""
