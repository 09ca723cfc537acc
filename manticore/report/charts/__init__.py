"""Charts as SVG. Each knows numbers and names, nothing of runs."""
