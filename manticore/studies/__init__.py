"""Many trials: comparisons over seeds, learning rates and budgets, and transfer of architectures."""
