"""Kernels written to be read; every faster one is compared with these."""
