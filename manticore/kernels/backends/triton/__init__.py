"""Kernels in Triton for CUDA and ROCm devices. Triton's interpreter runs them on the CPU in tests."""
