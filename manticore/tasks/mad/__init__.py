"""The six synthetic tasks of MAD (Poli et al., arXiv 2403.17844), and their files."""
