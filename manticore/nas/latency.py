"""Latency of a path: the sum of the measured times of its parts on this machine, read from a table.

A part is a segment, the projectors of a branch, an op, or the ends of a model: embedding, final norm and head, with
what a forward pass does besides its stages. Parts of equal structure have one entry: the weights do not matter. The
name of the machine is in the table, which is refused on another. Times of other lengths are interpolated: between two
measured lengths they are a power of the length, which is exact for times that grow linearly or quadratically.

`manticore bench latency` writes the table (`manticore/bench/latency.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import device as Device
from torch import nn

from manticore.adapters.base import Adapter
from manticore.errors import BadFile, ManticoreError
from manticore.modeling.branches import BaseBranch, SkipBranch
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Segment
from manticore.nas.resources import Resource
from manticore.nas.routed_projectors import Routing
from manticore.nas.supernet import Supernet
from manticore.utils.cores import processor_name
from manticore.utils.devices import choose_device
from manticore.utils.formatting import counted
from manticore.utils.io import cache_folder, read_json, slug, write_json

VARIABLE = "MANTICORE_LATENCY"
"""Environment variable with the file of the table. Default: one for each machine in the cache folder."""

PREFILL, DECODE, FORWARD = "prefill", "decode", "forward"
"""What is timed: all tokens of a prompt with a new cache and the logits of the last one; one token with a cache of the
others; all tokens without a cache, of a model that does not predict the next token."""

MODES = {"prefill_ms": PREFILL, "decode_ms": DECODE}
"""What a resource is the time of."""


@dataclass(frozen=True)
class Machine:
    """What times depend on besides the model: processor or GPU, version of torch, number of threads."""

    device: str
    name: str
    torch: str
    threads: int

    @classmethod
    def current(cls, device: Device) -> Machine:
        """This machine, with a device of it."""
        is_gpu = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if is_gpu else processor_name()
        return cls(device.type, name, torch.__version__, torch.get_num_threads())

    def __str__(self) -> str:
        return f"{self.name} ({self.device}), torch {self.torch}, {counted(self.threads, 'thread')}"


class TimedPart(NamedTuple):
    """A part of a hybrid that is timed by itself.

    Attributes:
        kind: `segment`, `projectors`, `op` or `ends`.
        name: for people.
        module: a segment, a branch or an op; of the ends the list of their modules.
    """

    kind: str
    name: str
    module: nn.Module

    @property
    def digest(self) -> str:
        """A digest of the structure: shapes, configuration and kinds of modules, without values."""
        left_out = self.module.segment if self.kind == "projectors" else None
        ignored = {
            id(part)
            for module in self.module.modules()
            if isinstance(module, Adapter | Routing) or module is left_out
            for part in module.parameters()
        }
        lines = [self.kind, type(self.module).__name__]
        lines += [type(part).__name__ for part in self.module.children() if part is not left_out]
        for name, parameter in self.module.named_parameters():
            if id(parameter) not in ignored:
                lines.append(f"{name} {tuple(parameter.shape)}")
        if isinstance(self.module, Segment):
            config = self.module.backbone.config.to_dict()
            left = ("dtype", "torch_dtype", "transformers_version", "_name_or_path")
            shown = {key: value for key, value in config.items() if key not in left}
            lines.append(json.dumps(shown, sort_keys=True, default=str))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def parts_of(modules: Sequence[nn.Module], name: str) -> Iterator[TimedPart]:
    """The parts that the modules of a stage, or those that every path has, consist of.

    Args:
        modules: as `Topology.path_modules` or `Topology.fixed_modules` return them.
        name: of the component or op.
    """
    ends = []
    for module in modules:
        segment = getattr(module, "segment", module)
        if isinstance(module, OpBranch):
            yield TimedPart("op", name, module)
        elif isinstance(segment, Segment):
            layers = getattr(segment.backbone.config, "num_hidden_layers", 0)
            yield TimedPart("segment", f"{counted(layers, 'layer')} of {name}", segment)
            if module is not segment and not isinstance(module, BaseBranch):
                yield TimedPart("projectors", name, module)
        elif not isinstance(module, SkipBranch):
            ends.append(module)
    if ends:
        yield TimedPart("ends", name, nn.ModuleList(ends))


@dataclass(frozen=True)
class PartLatency:
    """The times of a part.

    Attributes:
        kind, name, digest: of the part.
        mode: `prefill`, `decode` or `forward`.
        batch: number of sequences.
        dtype: type of weights and stream.
        ms: milliseconds by number of tokens; of `decode` those of the last token.
    """

    kind: str
    name: str
    digest: str
    mode: str
    batch: int
    dtype: str
    ms: Mapping[int, float]

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells entries apart."""
        return self.digest, self.mode, self.batch, self.dtype

    def at(self, length: int) -> float | None:
        """Milliseconds at a length, interpolated between the measured ones; None outside of their range."""
        if length in self.ms:
            return self.ms[length]
        lengths = sorted(self.ms)
        after = bisect_left(lengths, length)
        if not 0 < after < len(lengths):
            return None
        low, high = lengths[after - 1], lengths[after]
        share = math.log(length / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(self.ms[low]) + share * math.log(self.ms[high]))


@dataclass
class LatencyTable:
    """The times of parts on one machine.

    Attributes:
        machine: where they were measured.
        entries: by what tells them apart.
    """

    machine: Machine
    entries: dict[tuple[str, str, int, str], PartLatency] = field(default_factory=dict)

    def add(self, entry: PartLatency) -> None:
        """Add an entry. Lengths that an equal part has already are replaced, others are kept."""
        known = self.entries.get(entry.key)
        ms = {**(known.ms if known is not None else {}), **entry.ms}
        self.entries[entry.key] = PartLatency(**{**asdict(entry), "ms": dict(sorted(ms.items()))})

    def save(self, file: Path) -> None:
        """Write the table as JSON."""
        entries = [asdict(entry) for entry in self.entries.values()]
        write_json(file, {"format": 1, "machine": asdict(self.machine), "entries": entries})

    @classmethod
    def load(cls, file: Path) -> LatencyTable:
        """Read a table. Raises BadFile if it is none."""
        record = read_json(file)
        try:
            table = cls(Machine(**record["machine"]))
            for entry in record["entries"]:
                table.add(PartLatency(**{**entry, "ms": {int(n): float(ms) for n, ms in entry["ms"].items()}}))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise BadFile(file, f"no table of latencies ({type(error).__name__}: {error})") from None
        return table


def latency_file(machine: Machine) -> Path:
    """The file of the table of a machine, or that of the environment variable."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    digest = hashlib.sha256(str(machine).encode()).hexdigest()[:8]
    return cache_folder() / "latency" / f"{slug(machine.name)}-{digest}.json"


_in_use: ContextVar[LatencyTable | None] = ContextVar("latency table", default=None)


@contextmanager
def using(table: LatencyTable) -> Iterator[None]:
    """Read this table, of whatever machine, in the block."""
    token = _in_use.set(table)
    try:
        yield
    finally:
        _in_use.reset(token)


def current_table() -> LatencyTable:
    """The table of `using`, or that of this machine. Raises ManticoreError if there is none, or one of another."""
    if (table := _in_use.get()) is not None:
        return table
    machine = Machine.current(choose_device())
    file = latency_file(machine)
    if not file.is_file():
        raise ManticoreError(f"there is no latency table of this machine ({file}): manticore bench latency makes it")
    table = LatencyTable.load(file)
    if table.machine != machine:
        raise ManticoreError(
            f"the latency table {file} is of another machine, {table.machine}; this is {machine}: measure here with "
            "manticore bench latency"
        )
    return table


def latency_costs(supernet: Supernet, resource: Resource) -> tuple[list[list[float]], float]:
    """Milliseconds of each candidate at each stage, (S, K), infinite where a stage does not have it; and of the ends.

    Args:
        supernet: it may be on the meta device.
        resource: `prefill_ms` or `decode_ms` with a length.

    Raises ManticoreError if a part is not in the table, with the command that measures it.
    """
    table, topology, mode = current_table(), supernet.topology, MODES[resource.name]
    if supernet.head_spec.kind != "lm":
        if mode == DECODE:
            raise ManticoreError("decode_ms is of language models: no other model is generated from")
        mode = FORWARD
    names = ",".join(supernet.components)

    def read(modules: Sequence[nn.Module], name: str) -> float:
        return sum(_read(table, part, resource, mode, names) for part in parts_of(modules, name))

    stages = [[math.inf] * len(supernet.candidates) for _ in range(supernet.space.stages)]
    for stage, row in enumerate(stages):
        for name in supernet.choices.names(stage):
            row[supernet.candidates.index(name)] = read(topology.path_modules(supernet, stage, name), name)
    return stages, read(topology.fixed_modules(supernet), supernet.base)


def _read(table: LatencyTable, part: TimedPart, resource: Resource, mode: str, names: str) -> float:
    length: Any = resource.length
    entry = table.entries.get((part.digest, mode, resource.batch, resource.dtype))
    value = None if entry is None else entry.at(length)
    if value is not None:
        return value
    what = f"{part.kind} ({part.name})"
    missing = f"no {mode} of the {what}, {resource.batch} x {resource.dtype}"
    if entry is not None:
        missing = f"the {mode} of the {what} at {', '.join(map(str, sorted(entry.ms)))} tokens, not at {length}"
    batch = f" --batches {resource.batch}" if resource.batch > 1 else ""
    dtype = f" --dtypes {resource.dtype}" if resource.dtype != "float32" else ""
    raise ManticoreError(
        f"the latency table has {missing}; measure it: manticore bench latency {names} --task TASK "
        f"--lengths {length}{batch}{dtype}, with the flags of the search, or manticore bench latency RUN"
    )
