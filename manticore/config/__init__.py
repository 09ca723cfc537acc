"""Recipes and options of commands, as frozen dataclasses; YAML, presets and dotted overrides."""
