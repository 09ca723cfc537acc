"""A discrete architecture as plain data: a component, an op, or nothing, for every stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manticore.components.spec import SKIP
from manticore.errors import BadFile, ManticoreError, shown
from manticore.nas.resources import BITS
from manticore.utils.io import read_json, write_json
from manticore.utils.path_text import LISTED_STAGES, path_text, with_bits

FORMAT = 1

KEYS = {**dict.fromkeys(("components", "path", "ops"), list), **dict.fromkeys(("base", "topology", "projector"), str)}
"""Keys of a file: lists of names, and names."""


@dataclass(frozen=True)
class Architecture:
    """A discrete hybrid.

    Attributes:
        components: names of the K components, in the order of the alphas' columns.
        path: for each of the S stages the name of the component or op that runs it, or `skip`.
        base: the component that provides embedding, residual stream, final norm and head.
        topology: name of the topology.
        projector: kind of the projectors at donor stages.
        ops: names of the ops of the space, in the order of the alphas' columns.
        bits: of the weights of each stage, with which the path was selected; empty: no bits were chosen.
    """

    components: tuple[str, ...]
    path: tuple[str, ...]
    base: str
    topology: str = "residual"
    projector: str = "linear"
    ops: tuple[str, ...] = ()
    bits: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        allowed = {*self.components, *self.ops, SKIP}
        for stage, choice in enumerate(self.path, start=1):
            if choice not in allowed:
                raise ManticoreError(f"stage {stage} is '{choice}', which is none of: {', '.join(sorted(allowed))}")
        if self.base not in self.components:
            raise ManticoreError(f"base '{self.base}' is none of the components: {', '.join(self.components)}")
        if self.bits and (len(self.bits) != self.stages or not set(map(str, self.bits)) <= set(map(str, BITS))):
            raise ManticoreError(f"bits are one of 16, 8 and 4 for each stage, not {shown(list(self.bits))}")

    @property
    def stages(self) -> int:
        """Number of stages S."""
        return len(self.path)

    def summary(self) -> str:
        """The path in one line: `stage 1 mamba · stage 2 gpt-neo`; with bits `stage 1 mamba (8 bits) · ...`.

        Of more than eight stages, equal neighbours are one entry: `stages 1-2 llama · 3 mamba · 4-9 llama`.
        """
        if self.stages > LISTED_STAGES:
            return f"stages {path_text(self.path, self.bits)}"
        parts = with_bits(self.path, self.bits)
        return " · ".join(f"stage {stage} {part}" for stage, part in enumerate(parts, start=1))

    def save(self, file: Path | str) -> None:
        """Write as JSON, whole or not at all."""
        record = {key: value for key, value in asdict(self).items() if key not in ("ops", "bits") or value}
        write_json(file, {"format": FORMAT, **record, "summary": self.summary()})

    @classmethod
    def load(cls, file: Path | str) -> Architecture:
        """Read what `save` wrote. Raises BadFile if it is something else."""
        record: Any = read_json(file)
        if not isinstance(record, dict) or record.get("format") != FORMAT or "path" not in record:
            raise BadFile(file, f"not a manticore architecture of format {FORMAT}")
        record = {"ops": [], "bits": [], **record}
        if not isinstance(record["bits"], list):
            raise BadFile(file, f"not an architecture ('bits' is {shown(record['bits'])})")
        for key, kind in KEYS.items():
            if key not in record:
                raise BadFile(file, f"an architecture without '{key}'")
            names = record[key] if kind is list else [record[key]]
            if not isinstance(record[key], kind) or not all(isinstance(name, str) for name in names):
                raise BadFile(file, f"not an architecture ('{key}' is {shown(record[key])})")
        try:
            return cls(
                components=tuple(record["components"]),
                path=tuple(record["path"]),
                base=record["base"],
                topology=record["topology"],
                projector=record["projector"],
                ops=tuple(record["ops"]),
                bits=tuple(record["bits"]),
            )
        except ManticoreError as error:
            raise BadFile(file, f"not an architecture ({error})") from None
