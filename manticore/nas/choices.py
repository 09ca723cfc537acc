"""Which paths a search space has: what may run each stage, and which stages choose together. Pure data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError, UnknownName, shown

PathNames = tuple[str, ...]
"""A path: a candidate for each stage."""


def skips_all(path: Sequence[str]) -> bool:
    """Whether a path skips every stage, so that it is no hybrid."""
    return all(name == SKIP for name in path)


@dataclass(frozen=True)
class Choices:
    """The paths of a search space. Stages are counted from 0 here, from 1 in messages.

    Attributes:
        candidates: the K candidates of the space, in the order of the alphas' columns.
        allowed: for each of the S stages the indices of the candidates that may run it, in rising order.
        decisions: groups of stages that choose together, each in rising order, ordered by their first stage. Every
            stage is in one group, mostly alone. The stages of a group have the same allowed candidates.
    """

    candidates: tuple[str, ...]
    allowed: tuple[tuple[int, ...], ...]
    decisions: tuple[tuple[int, ...], ...]

    @classmethod
    def free(cls, candidates: Sequence[str], stages: int) -> Choices:
        """Any candidate at any stage."""
        everything = tuple(range(len(candidates)))
        return cls(tuple(candidates), (everything,) * stages, tuple((stage,) for stage in range(stages)))

    @classmethod
    def of(
        cls,
        candidates: Sequence[str],
        stages: int,
        stage_candidates: Mapping[int, Sequence[str]],
        shared_stages: Sequence[Sequence[int]],
    ) -> Choices:
        """The choices of a search space, with the stages of its fields counted from 1.

        Args:
            candidates: all candidates.
            stages: number of stages S.
            stage_candidates: candidates of the stages that do not have all.
            shared_stages: groups of stages that choose together; a group has the candidates that all its stages have.

        Raises:
            UnknownName: a name that is no candidate.
            ManticoreError: a number that is no stage, a stage in two groups, or a stage without candidates.
        """
        _check_stages("stage_candidates", [*stage_candidates], stages)
        in_groups = [stage for group in shared_stages for stage in group]
        _check_stages("shared_stages", in_groups, stages)
        for stage in in_groups:
            if in_groups.count(stage) > 1:
                raise ManticoreError(f"shared_stages has stage {stage} twice; a stage chooses with one group")
        for names in stage_candidates.values():
            for name in names:
                if name not in candidates:
                    raise UnknownName("candidate for a stage", name, candidates)
        leaders = {stage: min(group) for group in shared_stages for stage in group}
        decisions: dict[int, list[int]] = {}
        for stage in range(1, stages + 1):
            decisions.setdefault(leaders.get(stage, stage), []).append(stage)
        allowed: dict[int, tuple[int, ...]] = {}
        for group in decisions.values():
            own = [set(stage_candidates.get(stage, candidates)) for stage in group]
            common = tuple(index for index, name in enumerate(candidates) if all(name in names for names in own))
            if not common:
                raise ManticoreError(f"{_listed(group)} no candidate{' in common' if len(group) > 1 else ''}")
            allowed.update(dict.fromkeys(group, common))
        return cls(
            tuple(candidates),
            tuple(allowed[stage] for stage in range(1, stages + 1)),
            tuple(tuple(stage - 1 for stage in group) for group in decisions.values()),
        )

    @property
    def stages(self) -> int:
        """Number of stages S."""
        return len(self.allowed)

    @cached_property
    def masked(self) -> bool:
        """Whether some stage does not have all candidates."""
        return any(len(indices) < len(self.candidates) for indices in self.allowed)

    @cached_property
    def shared(self) -> bool:
        """Whether some stages choose together."""
        return len(self.decisions) < self.stages

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """For each stage the first stage of its group, whose row of alphas it reads."""
        first = {stage: group[0] for group in self.decisions for stage in group}
        return tuple(first[stage] for stage in range(self.stages))

    def names(self, stage: int) -> list[str]:
        """Names of the candidates of a stage."""
        return [self.candidates[index] for index in self.allowed[stage]]

    @property
    def count(self) -> int:
        """Number of paths."""
        return prod(len(self.allowed[group[0]]) for group in self.decisions)

    def summary(self) -> str:
        """The number of paths: `3^4 = 81 paths`, or `24 paths` where stages differ or share their choice."""
        size = "" if self.masked or self.shared else f"{len(self.candidates)}^{self.stages} = "
        return f"{size}{self.count} path{'s' if self.count != 1 else ''}"

    def expand(self, chosen: Sequence[int]) -> tuple[int, ...]:
        """One candidate index for each stage, from one for each decision."""
        by_row = {group[0]: choice for group, choice in zip(self.decisions, chosen, strict=True)}
        return tuple(by_row[row] for row in self.rows)

    def paths(self) -> Iterator[tuple[str, ...]]:
        """Every path, the last stage changing fastest."""
        for chosen in product(*(self.allowed[group[0]] for group in self.decisions)):
            yield tuple(self.candidates[index] for index in self.expand(chosen))

    def has_alone(self, name: str) -> bool:
        """Whether the path with one candidate at every stage is one of this space."""
        return all(name in self.names(stage) for stage in range(self.stages))

    def random_path(self, rng: random.Random) -> list[str]:
        """A path drawn uniformly from all."""
        chosen = [rng.choice(self.allowed[group[0]]) for group in self.decisions]
        return [self.candidates[index] for index in self.expand(chosen)]

    def neighbours(self, path: Sequence[str]) -> list[PathNames]:
        """The paths that differ from `path` in the choice of one group of stages."""
        return [
            tuple(name if stage in group else own for stage, own in enumerate(path))
            for group in self.decisions
            for name in self.names(group[0])
            if name != path[group[0]]
        ]

    def check_names(self, path: Sequence[str]) -> None:
        """Check that a path has a candidate for each stage. Raises UnknownName, or ManticoreError."""
        if isinstance(path, str) or not isinstance(path, Sequence):
            raise ManticoreError(f"a path is a list of a candidate for each stage, not {shown(path)}")
        for name in path:
            if name not in self.candidates:
                raise UnknownName("candidate for a stage", name, self.candidates)
        if len(path) != self.stages:
            raise ManticoreError(f"the path names {len(path)} stages; the space has {self.stages}")

    def check(self, path: Sequence[str]) -> None:
        """Check that a path is one of this space. Raises UnknownName, or ManticoreError that says what differs."""
        self.check_names(path)
        for stage, name in enumerate(path):
            if name not in self.names(stage):
                raise ManticoreError(
                    f"'{name}' is no candidate of stage {stage + 1}; its candidates: {', '.join(self.names(stage))}"
                )
            row = self.rows[stage]
            if name != path[row]:
                raise ManticoreError(
                    f"stages {row + 1} and {stage + 1} share their choice; the path names {path[row]} and {name}"
                )


def _check_stages(field: str, numbers: Sequence[int], stages: int) -> None:
    for number in numbers:
        if not 1 <= number <= stages:
            raise ManticoreError(f"{field} names stage {number}; the stages are 1 to {stages}")


def _listed(group: Sequence[int]) -> str:
    return f"stage {group[0]} has" if len(group) == 1 else f"stages {', '.join(map(str, group))} have"
