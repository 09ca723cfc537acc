"""What a training has changed in each stage of a hybrid, `analysis.json`, and how its stages differ from the base's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile


@dataclass(frozen=True)
class StageAnalysis:
    """One stage of a hybrid.

    Attributes:
        candidate: the component, op or `skip` that runs it.
        weights: number of weights of its layers, without projectors.
        moved: share of them that the training has changed; None for a stage without layers of a component.
        rank: rank of the changes of its matrices, as a share of the largest possible rank.
        main_rank: the same for the rank that has 99 % of the squared norm of the change.
        fsp_distance: distance of its FSP matrix from that of the reference model; None without a reference.
    """

    candidate: str
    weights: int
    moved: float | None
    rank: float | None
    main_rank: float | None
    fsp_distance: float | None


@dataclass(frozen=True)
class HybridAnalysis(ResultFile):
    """The stages of a hybrid after its training.

    Attributes:
        start: what the changes are counted from, in words.
        tolerance: smallest absolute change of a weight that counts as one.
        reference: model whose stages the FSP matrices are compared with, in words; None if no other has this stream.
        sequences: number of validation sequences of the FSP matrices.
        stages: from the first to the last.
    """

    FILE: ClassVar[str] = "analysis.json"
    FORMAT: ClassVar[int] = 1

    start: str
    tolerance: float
    reference: str | None
    sequences: int
    stages: tuple[StageAnalysis, ...]
