"""The processes that train one model together, and the messages between them.

Each process has a rank, counted from 0. Messages go through the default group of `torch.distributed`, except those that
may have to wait for hours: these go through a group of their own, whose limit of time is a year. A process that is
alone sends none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from manticore.errors import LostProcess

T = TypeVar("T")


@contextmanager
def _sending() -> Iterator[None]:
    """Raises LostProcess in place of the errors of torch for a message that cannot be sent or received."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(str(error).strip().splitlines()[0].strip("[] ")[-120:]) from error


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as one of them sees them.

    Every method but `is_first` is called in all processes, in the same order. Raises LostProcess if one has ended.

    Attributes:
        rank: number of this process.
        count: number of processes.
        patient: group for messages that may have to wait for hours; None: the default group.
        left: errors that ended a training in this process alone, after which no message can be sent.
        busy: titles of the trainings that run now, during which other messages cannot be sent.
        kept: what the processes keep of the messages of the first one, so that it need not be sent again.
    """

    rank: int = 0
    count: int = 1
    patient: Any = field(default=None, repr=False, compare=False)
    left: list[BaseException] = field(default_factory=list, repr=False, compare=False)
    busy: list[str] = field(default_factory=list, repr=False, compare=False)
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which alone writes files and prints."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, on its device; the result is equal in all. Returns it."""
        if self.count > 1:
            with _sending():
                dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. They are pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _sending():
            dist.all_gather_object(values, value, group=self.patient)
        return values

    def send(self, data: bytes) -> None:
        """Send data from the first process to all others, each of which waits in `receive`."""
        if self.count == 1:
            return
        with _sending():
            dist.broadcast(torch.tensor([len(data)]), 0, group=self.patient)
            dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0, group=self.patient)

    def receive(self) -> bytes:
        """Wait for data that the first process sends."""
        size = torch.zeros(1, dtype=torch.long)
        with _sending():
            dist.broadcast(size, 0, group=self.patient)
            data = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(data, 0, group=self.patient)
        return data.numpy().tobytes()


ALONE = Ranks()
"""A process that trains by itself."""
