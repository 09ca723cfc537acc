"""Small tools that know nothing of models: whole writes, registries, shipped assets, statistics, the console."""
