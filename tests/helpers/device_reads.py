"""Counts what would stop the host in a training step on a GPU, and torch's calls in it, on a CPU.

Tensors of the model and of the batch after its transfer are marked as being on the device, and so is every result of an
operation with such a tensor. Reading a marked tensor in Python is counted: on a GPU the host would wait there. So are
numbers of the host that become a tensor on the device, except by `manticore.utils.transfers`: their copy waits, too.
Tensors without a mark, such as random numbers for the host and step counters of optimizers, are read for free.

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
    (
        *("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim"),
        *("multinomial", "bincount", "repeat_interleave"),
    )
)
"""Operations of aten whose result the host needs before it goes on, or that read their arguments themselves."""

READING_METHODS = frozenset(("tolist", "numpy", "cpu", "__array__"))
"""Methods of a tensor that copy it to the host."""

INDEXING = frozenset(("__getitem__", "__setitem__"))
"""Methods whose index, if it is a list, is copied to the device."""

TRANSFERS = "manticore/utils/transfers.py"

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
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        stops = False
        if args and is_marked(args[0]):
            index = args[1] if name in INDEXING else ()
            parts = index if isinstance(index, tuple) else (index,)
            stops = name in READING_METHODS or name == "new_tensor" or any(isinstance(part, list) for part in parts)
        elif name in ("tensor", "as_tensor") and "device" in kwargs:
            stops = not sys._getframe(1).f_code.co_filename.endswith(TRANSFERS)
        if stops:
            _record(self.reads)
        return func(*args, **kwargs)


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
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if marked and (name in READING_OPS or by_mask):
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
