"""Charts as inline SVG: colors are CSS variables, text stays text, and every chart has a label for a screen reader."""
