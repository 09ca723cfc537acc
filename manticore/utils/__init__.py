"""Tools independent of models: atomic writes, registries, shipped assets, statistics, the console."""
