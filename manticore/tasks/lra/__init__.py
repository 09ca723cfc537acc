"""Long Range Arena (Tay et al., arXiv 2011.04006): ListOps, text, retrieval, image, Pathfinder."""
