"""Kernels in matrix form: the sequence is cut into chunks, each a few matrix products. Any device, any real dtype."""
