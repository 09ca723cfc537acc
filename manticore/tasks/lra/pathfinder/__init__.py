"""Pathfinder: the drawing of connected contours, and the released files."""
