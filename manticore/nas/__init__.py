"""The heart: search space, supernet, mixed op, relaxations, strategies, selection, discretization, cost."""
