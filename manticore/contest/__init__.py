"""A fair contest: the hybrid and its rivals on one budget, over seeds; and architectures tried on proxies first."""
