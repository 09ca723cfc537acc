"""The search space: components, stages and topology, as plain data. It has no tensors and loads no models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from manticore.components.spec import SKIP, ComponentSpec
from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.utils.fields import Checked, PositiveInt, field_types


@dataclass(frozen=True)
class SearchSpace(Checked):
    """K components cut into S stages, and how a stage's candidates are joined."""

    components: tuple[ComponentSpec, ...]
    """Two or more components: aliases (manticore ls models), hub ids or local folders; in a file also mappings with
    source, name, revision, init and size; in Python also ComponentSpec and model objects."""

    stages: PositiveInt = 4
    """Number of stages S; at most the number of layers of the shallowest component."""

    base: str | None = None
    """Base component, by its name or source: it provides embedding, residual stream, final norm and head."""

    topology: str = "residual"
    """How stages are joined: residual (updates to the base's stream), hub (the paper's gated wiring), or a registered
    one."""

    projector: str = "linear"
    """Kind of the projectors between streams: linear, low-rank, two-layer, identity, or a registered one."""

    projector_options: dict[str, Any] = field(default_factory=dict)
    """Options of that kind, such as rank, and for any kind bypass: a linear map of the base's stream beside every donor
    update (residual topology only). A recipe's default for bypass is align.bypass between language models, else
    false."""

    skip: bool = False
    """Let a stage be skipped, as one more candidate (residual topology only)."""

    def __init__(
        self,
        components: Sequence[Any],
        stages: int = 4,
        base: str | None = None,
        topology: str = "residual",
        projector: str = "linear",
        projector_options: dict[str, Any] | None = None,
        skip: bool = False,
        *,
        tokenizer: Any = None,
    ) -> None:
        """A search space; the fields are those of the class.

        Args:
            components: also model objects, and pairs of a model object and its tokenizer.
            tokenizer: the tokenizer of all model objects that have none of their own.
        """
        specs = _unique(tuple(ComponentSpec.of(component, tokenizer) for component in components))
        for key, value in {
            "components": specs,
            "stages": stages,
            "base": _name_of(base, specs),
            "topology": topology,
            "projector": projector,
            "projector_options": projector_options or {},
            "skip": skip,
        }.items():
            object.__setattr__(self, key, value)
        self._check()

    def _check(self) -> None:
        super().__post_init__()
        if len(self.components) < 2:
            names = ", ".join(self.names) or "none"
            raise ManticoreError(f"a hybrid needs at least two components; given: {names}")
        if not isinstance(self.projector_options.get("bypass", False), bool):
            raise ManticoreError(f"bypass must be true or false, not {self.projector_options['bypass']!r}")
        from manticore.nas.topologies import topologies  # a space is plain data, and topologies import torch

        topology = topologies[self.topology]
        if self.base is not None and self.base not in self.names:
            sources = {spec.source for spec in self.components if spec.source}
            raise UnknownName("base component", self.base, sources.union(self.names))
        if self.base is not None and not topology.has_base:
            raise ManticoreError(
                f"in the {self.topology} topology the component of the first stage is the base; "
                f"drop base or topology={self.topology}"
            )
        for option, wanted in (("bypass", self.projector_options.get("bypass")), ("skip", self.skip)):
            if wanted and option not in topology.supports:
                raise ManticoreError(
                    f"the {self.topology} topology has no {option}; drop {option} or topology={self.topology}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, in the order of the alphas' columns."""
        return tuple(spec.name for spec in self.components)

    def supports(self, option: str) -> bool:
        """Whether the topology supports an option; see `Topology.supports`."""
        from manticore.nas.topologies import topologies  # a space is plain data, and topologies import torch

        return option in topologies[self.topology].supports

    @property
    def candidates(self) -> tuple[str, ...]:
        """The options for a stage: the components and, if the space has it, `skip`."""
        return (*self.names, SKIP) if self.skip else self.names

    @property
    def projector_config(self) -> dict[str, Any]:
        """Kind and options of the projectors in one mapping; `bypass: false`, the default, is omitted."""
        options = {key: value for key, value in self.projector_options.items() if key != "bypass" or value}
        return {"kind": self.projector, **options}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for YAML. Raises ManticoreError if a component is a live model object."""
        plain = {key: getattr(self, key) for key in field_types(SearchSpace)}
        return plain | {"components": [spec.to_plain() for spec in self.components]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SearchSpace:
        """Read what `to_dict` wrote. Raises UnknownName for a key that does not exist."""
        unknown = [key for key in plain if key not in cls.__dataclass_fields__]
        if unknown:
            raise UnknownName("search space key", unknown[0], cls.__dataclass_fields__)
        if not isinstance(plain.get("components"), list | tuple):
            raise ManticoreError("a search space needs 'components': a list of at least two models")
        for component in plain["components"]:
            if not isinstance(component, str | dict):
                raise ManticoreError(f"a component is a name or a mapping with 'source', not {component!r}")
        return cls(**plain)

    @classmethod
    def load(cls, file: Path | str) -> SearchSpace:
        """Read a search space from YAML. Raises BadFile if it is not one."""
        try:
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise BadFile(file, f"cannot be read as a search space ({error.strerror})") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            line = getattr(getattr(error, "problem_mark", None), "line", None)
            raise BadFile(file, "not YAML", None if line is None else line + 1) from None
        if not isinstance(content, dict):
            raise BadFile(file, "a search space is a mapping with 'components', 'stages', ...")
        try:
            return cls.from_dict(content)
        except ManticoreError as error:
            raise BadFile(file, str(error)) from None


def _name_of(base: str | None, specs: tuple[ComponentSpec, ...]) -> str | None:
    """The name of the component that `base` names or is the source of, such as `./my-gpt`; `base` if there is none."""
    if any(base == spec.name for spec in specs):
        return base
    return next((spec.name for spec in specs if base and base == spec.source), base)


def _unique(specs: tuple[ComponentSpec, ...]) -> tuple[ComponentSpec, ...]:
    """The same specs with repeated names numbered: a second `mamba` is called `mamba-2`."""
    names = {spec.name for spec in specs}
    out: dict[str, ComponentSpec] = {}
    for spec in specs:
        name = spec.name
        if name in out:
            name = next(new for number in count(2) if (new := f"{spec.name}-{number}") not in names | set(out))
        out[name] = replace(spec, name=name)
    return tuple(out.values())
