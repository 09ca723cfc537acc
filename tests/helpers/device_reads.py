"""Counts what would stop the host in a training step on a GPU, and torch's calls in it, on a CPU.

Tensors of the model and of the batch after its transfer are marked as being on the device, and so is every result of an
operation with such a tensor. Reading a marked tensor in Python is counted: on a GPU the host would wait there. Tensors
without a mark, such as random numbers for the host and step counters of optimizers, are read for free.

Work inside of a kernel backend is left out, because on a GPU it is another backend.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READING_OPS = frozenset(
    ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim")
)
"""Operations of aten whose result the host needs before it goes on."""

READING_METHODS = frozenset(("tolist", "numpy", "cpu", "__array__"))
"""Methods of a tensor that copy it to the host."""

BACKENDS = "manticore/kernels/backends/"


def mark(tensors: Iterable[Any]) -> None:
    """Mark tensors as being on the device."""
    for tensor in tree_leaves(list(tensors)):
        if isinstance(tensor, Tensor):
            tensor.is_on_device = True  # type: ignore[attr-defined]


def is_marked(value: Any) -> bool:
    """Whether a value is a tensor on the device."""
    return isinstance(value, Tensor) and getattr(value, "is_on_device", False)


class _Methods(TorchFunctionMode):
    def __init__(self, reads: Counter[str]) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READING_METHODS and args and is_marked(args[0]):
            _record(self.reads)
        return func(*args, **(kwargs or {}))


def _record(reads: Counter[str]) -> None:
    """Count a read at the innermost line outside of torch and of this file; none in a kernel backend."""
    files = list(_frames())
    if not any(BACKENDS in file for file, _ in files):
        file, line = next(frame for frame in files if "/torch/" not in frame[0] and frame[0] != __file__)
        reads[f"{file}:{line}"] += 1


def _frames() -> Iterator[tuple[str, int]]:
    """File and line of every frame, from the innermost."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]


class DeviceReads(TorchDispatchMode):
    """Counts while its context is open.

    Attributes:
        reads: reads of the device by file and line.
        calls: calls of aten outside of kernel backends.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        mark([*model.parameters(), *model.buffers()])
        self.reads: Counter[str] = Counter()
        self.calls = 0
        self._methods = _Methods(self.reads)

    def __enter__(self) -> DeviceReads:
        self._methods.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._methods.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        marked = any(map(is_marked, tree_leaves((args, kwargs))))
        name = func._schema.name.partition("::")[2]
        if marked and name in READING_OPS:
            _record(self.reads)
        if not any(BACKENDS in file for file, _ in _frames()):
            self.calls += 1
        out = func(*args, **kwargs)
        to_host = func is torch.ops.aten.copy_.default and not is_marked(args[0])
        if to_host and marked and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
            _record(self.reads)
        if marked and not to_host:
            mark([out])
        return out
