"""ListOps: the grammar, its generator, and the released files."""
