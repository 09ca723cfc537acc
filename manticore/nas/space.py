"""The search space: components, stages and topology, as plain data. It has no tensors and loads no models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from manticore.components.spec import MOST_LAYERS, SKIP, ComponentSpec
from manticore.errors import BadFile, ManticoreError, UnknownName, shown
from manticore.nas.choices import Choices
from manticore.nas.op import Op
from manticore.utils.fields import Checked, PositiveInt, field_types
from manticore.utils.text_files import read_text
from manticore.utils.yaml_loading import load_yaml, yaml_problem

if TYPE_CHECKING:
    from manticore.components.component import Component

MOST_DIGITS = 10
"""A number of a stage has fewer digits."""

OMITTED_IF_EMPTY = ("ops", "stage_candidates", "shared_stages", "cuts")
"""Fields that plain data omits where they have their default."""


@dataclass(frozen=True)
class SearchSpace(Checked):
    """K components cut into S stages, and how a stage's candidates are joined."""

    components: tuple[ComponentSpec, ...]
    """Two or more components, or one and ops: aliases (manticore ls models), hub ids or local folders; in a file also
    mappings with source, name, revision, init and size; in Python also ComponentSpec, model objects and Op."""

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

    ops: tuple[Op, ...] = ()
    """Candidates that are modules of your own (residual topology only): mappings with name, factory (import path
    package.module:Name, which needs --trust-code), options and causal."""

    stage_candidates: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Candidates of single stages, counted from 1, where they are not all: {1: gpt-neo, 4: [mamba, skip]}. A stage with
    one candidate is fixed."""

    shared_stages: tuple[tuple[int, ...], ...] = ()
    """Groups of stages, counted from 1, that share their choice: [[1, 3], [2, 4]]. Each stage has its own weights."""

    cuts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Layer boundaries by component, S + 1 rising numbers from 0 to its number of layers: {mamba: [0, 1, 4]}. Default:
    segments of about equal depth."""

    def __init__(
        self,
        components: Sequence[Any],
        stages: int = 4,
        base: str | None = None,
        topology: str = "residual",
        projector: str = "linear",
        projector_options: dict[str, Any] | None = None,
        skip: bool = False,
        ops: Sequence[Any] = (),
        stage_candidates: Mapping[int, Any] | None = None,
        shared_stages: Sequence[Sequence[int]] = (),
        cuts: Mapping[str, Sequence[int]] | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        """A search space; the fields are those of the class.

        Args:
            components: also model objects, pairs of a model object and its tokenizer, and ops.
            tokenizer: the tokenizer of all model objects that have none of their own.
        """
        if isinstance(components, str | Mapping) or not isinstance(components, Iterable):
            raise ManticoreError(f"components is a list, such as ['gpt-neo', 'mamba'], not {shown(components)}")
        components = list(components)  # a generator is read once
        own_ops = [component for component in components if isinstance(component, Op)]
        models = [component for component in components if not isinstance(component, Op)]
        specs = _unique(tuple(ComponentSpec.of(model, tokenizer) for model in models))
        for key, value in {
            "components": specs,
            "stages": stages,
            "base": _name_of(base, specs),
            "topology": topology,
            "projector": projector,
            "projector_options": {} if projector_options is None else projector_options,
            "skip": skip,
            "ops": (*own_ops, *map(Op.of, _items("ops", ops))),
            "stage_candidates": _by_stage({} if stage_candidates is None else stage_candidates),
            "shared_stages": _groups(shared_stages),
            "cuts": _cuts({} if cuts is None else cuts),
        }.items():
            object.__setattr__(self, key, value)
        self._check()

    def _check(self) -> None:
        super().__post_init__()
        if self.stages > MOST_LAYERS:
            raise ManticoreError(f"stages must be a whole number of at most {MOST_LAYERS:,}, got {self.stages:,}")
        if len(self.components) + len(self.ops) < 2 or not self.components:
            names = ", ".join((*self.names, *self.op_names)) or "none"
            raise ManticoreError(f"a hybrid needs at least two components, or one and an op; given: {names}")
        names_of_all = (*self.names, *self.op_names)
        for name in self.op_names:
            if names_of_all.count(name) > 1:
                raise ManticoreError(f"op '{name}' has the name of another candidate; give it another")
        if not isinstance(self.projector_options.get("bypass", False), bool):
            raise ManticoreError(f"bypass must be true or false, not {shown(self.projector_options['bypass'])}")
        if self.base is not None and self.base not in self.names:
            sources = {spec.source for spec in self.components if spec.source}
            raise UnknownName("base component", self.base, sources.union(self.names))
        if self.topology != SearchSpace.topology:  # the default has a base and all options
            self._check_topology()
        _ = self.choices  # raises what is wrong with them
        for name, boundaries in self.cuts.items():
            self._check_cuts(name, boundaries)

    def _check_topology(self) -> None:
        from manticore.nas.topologies import topologies  # a space is plain data, and topologies import torch

        topology = topologies[self.topology]
        if self.base is not None and not topology.has_base:
            raise ManticoreError(
                f"in the {self.topology} topology the component of the first stage is the base; "
                f"drop base or topology={self.topology}"
            )
        options = {"bypass": self.projector_options.get("bypass"), "skip": self.skip, "ops": self.ops}
        for option, is_set in options.items():
            if is_set and option not in topology.supports:
                raise ManticoreError(
                    f"the {self.topology} topology has no {option}; drop {option} or topology={self.topology}"
                )

    def _check_cuts(self, name: str, boundaries: Sequence[int]) -> None:
        if name not in self.names:
            raise UnknownName("component in cuts", name, self.names)
        rising = all(low < high for low, high in pairwise(boundaries))
        if len(boundaries) != self.stages + 1 or boundaries[0] != 0 or not rising:
            raise ManticoreError(
                f"cuts of '{name}' must be {self.stages + 1} layer numbers that rise from 0, one more than there are "
                f"stages; got {list(boundaries)}"
            )

    @property
    def choices(self) -> Choices:
        """What may run each stage, and which stages choose together: the paths of the space."""
        return Choices.of(self.candidates, self.stages, self.stage_candidates, self.shared_stages)

    def stage_without(self, names: Sequence[str]) -> tuple[int, str] | None:
        """The first stage, counted from 1, that lacks a named candidate, and the name; None if there is none."""
        choices = self.choices
        lacking = (
            (stage + 1, name) for stage in range(self.stages) for name in names if name not in choices.names(stage)
        )
        return next(lacking, None)

    def layer_boundaries(self, component: Component) -> list[int]:
        """Layer boundaries of the S segments of a loaded component: its cuts, or about equal depths.

        Raises ManticoreError if a segment would have no layer, or if the cuts do not end at the component's last layer.
        """
        cuts = self.cuts.get(component.name)
        if cuts is None:
            return component.layer_boundaries(self.stages)
        if cuts[-1] != component.depth:
            raise ManticoreError(
                f"cuts of '{component.name}' end at {cuts[-1]}; it has {component.depth} layers. Cuts are not "
                "rescaled: a target model of a transfer needs as many layers as the model that it replaces"
            )
        return list(cuts)

    def with_code(self, trust_code: bool = False) -> SearchSpace:
        """The same space with the factories of its ops as objects. Raises as `Op.with_code` does."""
        if not any(isinstance(op.factory, str) for op in self.ops):
            return self
        return replace(self, ops=tuple(op.with_code(trust_code) for op in self.ops))

    def with_components(self, components: Sequence[Any]) -> SearchSpace:
        """The same space with other components, which replace these by index, in candidates of stages and cuts too.

        The base is not set. With another number of components, candidates of stages and cuts are not set either.
        """
        specs = _unique(tuple(map(ComponentSpec.of, components)))
        if len(specs) != len(self.components):
            return replace(self, components=specs, base=None, stage_candidates={}, cuts={})
        renamed = dict(zip(self.names, (spec.name for spec in specs), strict=True))
        candidates = {
            stage: tuple(renamed.get(name, name) for name in names) for stage, names in self.stage_candidates.items()
        }
        cuts = {renamed[name]: boundaries for name, boundaries in self.cuts.items()}
        return replace(self, components=specs, base=None, stage_candidates=candidates, cuts=cuts)

    @property
    def op_names(self) -> tuple[str, ...]:
        """Names of the ops."""
        return tuple(op.name for op in self.ops)

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
        """The options for a stage: components, ops and, if the space has it, `skip`. Some stages may have fewer."""
        return (*self.names, *self.op_names, SKIP) if self.skip else (*self.names, *self.op_names)

    @property
    def projector_config(self) -> dict[str, Any]:
        """Kind and options of the projectors in one mapping; `bypass: false`, the default, is omitted."""
        options = {key: value for key, value in self.projector_options.items() if key != "bypass" or value}
        return {"kind": self.projector, **options}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for YAML. Ops are named by import path.

        Raises ManticoreError if a component is a live model object.
        """
        plain = {key: getattr(self, key) for key in field_types(SearchSpace)} | {
            "components": [spec.to_plain() for spec in self.components],
            "ops": [op.to_plain() for op in self.ops],
            "stage_candidates": {stage: list(names) for stage, names in self.stage_candidates.items()},
            "shared_stages": [list(group) for group in self.shared_stages],
            "cuts": {name: list(boundaries) for name, boundaries in self.cuts.items()},
        }
        return {key: value for key, value in plain.items() if value or key not in OMITTED_IF_EMPTY}

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
                raise ManticoreError(f"a component is a name or a mapping with 'source', not {shown(component)}")
        return cls(**plain)

    @classmethod
    def load(cls, file: Path | str) -> SearchSpace:
        """Read a search space from YAML. Raises BadFile if it is not one."""
        try:
            content = load_yaml(read_text(file))
        except yaml.YAMLError as error:
            raise BadFile(file, *yaml_problem(error)) from None
        if not isinstance(content, dict):
            raise BadFile(file, "a search space is a mapping with 'components', 'stages', ...")
        try:
            return cls.from_dict(content)
        except ManticoreError as error:
            raise BadFile(file, str(error)) from None


def _items(field: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ManticoreError(f"{field} must be a list, got {shown(value)}")
    return value


def _mapping(field: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ManticoreError(f"{field} must be a mapping, got {shown(value)}")
    return value


def _numbers(field: str, value: Any) -> tuple[int, ...]:
    """A list of whole numbers as a tuple."""
    if any(type(number) is not int for number in _items(field, value)):
        raise ManticoreError(f"{field} must be whole numbers, got {shown(value)}")
    return tuple(value)


def _cuts(value: Any) -> dict[str, tuple[int, ...]]:
    return {name: _numbers(f"cuts of '{name}'", row) for name, row in _mapping("cuts", value).items()}


def _by_stage(value: Any) -> dict[int, tuple[str, ...]]:
    """Candidates by stage number. A number may be text, as in `--set space.stage_candidates.1=mamba`."""
    out: dict[int, tuple[str, ...]] = {}
    for stage, names in _mapping("stage_candidates", value).items():
        if type(stage) is not int and not (isinstance(stage, str) and stage.isdecimal() and len(stage) < MOST_DIGITS):
            raise ManticoreError(f"stage_candidates maps numbers of stages to candidates; {shown(stage)} is no number")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise ManticoreError(f"stage_candidates of stage {stage} must be one or more names, got {shown(names)}")
        out[int(stage)] = tuple(names)
    return dict(sorted(out.items()))


def _groups(value: Any) -> tuple[tuple[int, ...], ...]:
    groups = tuple(_numbers("a group of shared_stages", group) for group in _items("shared_stages", value))
    if any(len(group) < 2 for group in groups):
        raise ManticoreError(f"a group of shared_stages has two or more stages, got {shown(value)}")
    return groups


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
