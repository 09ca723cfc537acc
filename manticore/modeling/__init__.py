"""The runtime: what an exported checkpoint needs, and nothing of search.

Flat, with relative imports only, on torch and transformers alone, because Hugging Face copies these files into every
checkpoint.
"""
