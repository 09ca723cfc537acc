"""Counts calls of torch that a GPU would run as kernels."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CountLaunches(TorchDispatchMode):
    """In the block, `count` grows with each operation that is no view and makes or writes values."""

    NO_LAUNCH = frozenset(
        {"detach", "empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view", "promote_types"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in self.NO_LAUNCH:
            self.count += 1
            self.names.append(name)
        return func(*args, **(kwargs or {}))
