"""Adapters: small trained changes of frozen weights, in training, merged and written to files."""
