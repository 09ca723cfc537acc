"""A Pareto front of a finished search, `pareto.json`: paths with their quality and their costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile
from manticore.utils.path_text import path_text


@dataclass(frozen=True)
class ParetoPoint:
    """A path of the front, or one that it is compared with.

    Attributes:
        path: a candidate for each stage.
        quality: by the front's measure.
        costs: in the order of the front's resources.
        on_front: whether no other path is better or equal in everything.
        label: what the path is besides: `selected`, `NAME alone`, `by hand`; empty for none of these.
        bits: of the weights of each stage, with which the quality was measured; empty: no bits were chosen.
    """

    path: tuple[str, ...]
    quality: float
    costs: tuple[float, ...]
    on_front: bool
    label: str = ""
    bits: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """The path in one line; see `path_text`."""
        return path_text(self.path, self.bits)


@dataclass(frozen=True)
class ParetoFront(ResultFile):
    """The best paths by a quality and costs.

    Attributes:
        quality: `score`, `loss` or `bits_per_byte`, before fine-tuning.
        selector: the strategy or selector that scored the paths.
        resources: the costs, as they are parsed: `cache_bytes@8192`.
        limits: limits that all paths of the front keep to, as text; empty without any.
        points: the front first, by rising costs.
    """

    FILE: ClassVar[str] = "pareto.json"
    FORMAT: ClassVar[int] = 1

    quality: str
    selector: str
    resources: tuple[str, ...]
    limits: str
    points: tuple[ParetoPoint, ...]

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller quality is a better one."""
        return self.quality != "score"

    @property
    def front(self) -> tuple[ParetoPoint, ...]:
        """The points that no other dominates."""
        return tuple(point for point in self.points if point.on_front)
