"""The kernels that others built for CUDA, under our arguments: mamba-ssm's and causal-conv1d's."""
