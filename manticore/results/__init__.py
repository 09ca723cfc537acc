"""The schema of every result file: frozen dataclasses that are written and read through one codec."""
