"""Implementations of the operations: plain PyTorch, compiled CPU loops, chunked, Triton, CUDA packages."""
