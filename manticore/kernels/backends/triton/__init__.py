"""Kernels in Triton for CUDA and ROCm devices; in Triton's interpreter they run on the CPU, to be tested."""
