"""One run and what it owns: its folder, its components, its phases, its model selection."""
