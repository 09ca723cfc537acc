"""The kernels inside transformers' own Mamba and GPT-Neo layers: what is replaced, and how it is undone."""
