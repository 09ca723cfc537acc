"""Reference kernels: each operation's definition in plain torch, with which the other backends are compared."""
