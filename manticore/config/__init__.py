"""What a run is asked to do, as frozen dataclasses; YAML, presets and dotted overrides."""
