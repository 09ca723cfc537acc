"""Architecture search: space, supernet, mixed op, relaxations, strategies, selection, discretization, cost."""
