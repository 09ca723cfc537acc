"""Kernels for the CPU: numba loops on Python threads, compiled at first use and cached."""
