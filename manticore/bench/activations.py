"""Peak memory of the tensors that a step keeps for its gradients.

On a CPU it is the size of the tensors that autograd has saved and not yet released, each storage counted once and the
parameters left out (`torch.autograd.graph.saved_tensors_hooks`): this is the same in every run and independent of the
allocator. On CUDA it is the growth of the allocator's peak, which includes gradients and temporaries.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from manticore.bench.timing import Thunk


def peak_activations(run: Thunk, device: str = "cpu") -> int:
    """Bytes that `run` keeps for gradients at its peak."""
    if device == "cuda":
        return _allocator_peak(run)
    ledger = _Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.save, _Saved.tensor_of):
        run()
    return ledger.peak


def _allocator_peak(run: Thunk) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class _Ledger:
    """The bytes of all storages that are currently saved, and their maximum so far."""

    def __init__(self) -> None:
        self.saved: Counter[int] = Counter()
        self.live = self.peak = 0

    def save(self, tensor: Tensor) -> _Saved:
        # A transposed weight is a view of its parameter.
        is_parameter = isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter)
        # Detached, because a saved output of a node would keep the node alive.
        return _Saved(self, tensor.detach(), 0 if is_parameter else tensor.untyped_storage().nbytes())

    def add(self, storage: int, size: int) -> None:
        self.saved[storage] += 1
        if self.saved[storage] == 1:
            self.live += size
            self.peak = max(self.peak, self.live)

    def remove(self, storage: int, size: int) -> None:
        self.saved[storage] -= 1
        if not self.saved[storage]:
            self.live -= size


class _Saved:
    """A saved tensor; autograd drops it when its node has run backward."""

    def __init__(self, ledger: _Ledger, tensor: Tensor, size: int) -> None:
        self.ledger, self.tensor, self.size = ledger, tensor, size
        self.storage = tensor.untyped_storage().data_ptr()
        ledger.add(self.storage, size)

    def __del__(self) -> None:
        self.ledger.remove(self.storage, self.size)

    @staticmethod
    def tensor_of(saved: _Saved) -> Tensor:
        return saved.tensor
