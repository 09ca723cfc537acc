"""HybridBench: what every path of a search space reaches when it is trained by itself on the whole budget.

    table = mc.HybridBench.load("mad-fuzzy-recall")
    print(table.best().path, table.regret(("mamba", "mamba", "mamba")))

Search methods are measured against a table without training anything, as with NAS-Bench-201 (Dong and Yang, arXiv
2001.00326). `manticore bench table` makes one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from manticore.errors import BadFile, ManticoreError, UnknownName, shown
from manticore.utils import assets
from manticore.utils.fields import convert, from_mapping
from manticore.utils.io import read_json, write_json
from manticore.utils.statistics import kendall, mean_of_known, spearman

FOLDER = "benchmarks/hybridbench"
"""Folder of the shipped tables."""

FORMAT = 1

Split = Literal["val", "test"]


@dataclass(frozen=True)
class PathRecord:
    """One path of a table. Values by seed have the order of the table's seeds.

    Attributes:
        path: a candidate for each stage.
        val, test: score on each split by the table's metric, for each seed.
        val_loss: mean cross-entropy on the validation split in nats, for each seed; None: training diverged.
        parameters: number of parameters.
        flops_per_token: operations per token of a forward pass, at the mean length of a training sequence.
        cache_bytes: bytes of the cache after `cache_length` tokens of one sequence, in float32.
        seconds: of training, for each seed.
    """

    path: tuple[str, ...]
    val: tuple[float, ...]
    test: tuple[float, ...]
    val_loss: tuple[float | None, ...]
    parameters: int
    flops_per_token: float
    cache_bytes: int
    seconds: tuple[float, ...]

    def mean(self, split: Split = "test") -> float:
        """Mean score over the seeds."""
        return fmean(self.val if split == "val" else self.test)


class SeedAgreement(NamedTuple):
    """How well one seed of every path, trained on the whole budget, predicts the other seeds; means over the seeds.

    Attributes:
        regret: test score that the path with the best validation score of one seed is behind the best path by the
            other seeds, in `HybridBench.unit`.
        tau, rho: Kendall's and Spearman's rank correlation of the validation scores of one seed with the test scores of
            the other seeds; None where all scores are equal.
    """

    regret: float
    tau: float | None
    rho: float | None


@dataclass(frozen=True)
class HybridBench:
    """The scores and costs of every path of one search space on one task.

    Attributes:
        name: of the table.
        task: name of the task in results.
        metric: name of the metric.
        larger_is_better: its direction.
        scale, unit: factor from a difference of scores to a number in `unit`, and that unit.
        recipe: the resolved recipe, whose fine-tuning section trains every path.
        base: the component that is the base of every path.
        seeds: of weights and batches.
        steps: training steps of every path, at the batch size of the recipe's fine-tuning.
        tokens, flops: mean tokens that a path was trained on, and mean operations, forward and backward.
        cache_length: tokens after which caches are measured.
        data: `Task.fingerprint` of the data.
        paths: one record for each path.
        machine: hardware and versions.
    """

    name: str
    task: str
    metric: str
    larger_is_better: bool
    scale: float
    unit: str
    recipe: dict[str, Any]
    base: str
    seeds: tuple[int, ...]
    steps: int
    tokens: float
    flops: float
    cache_length: int
    data: str
    paths: tuple[PathRecord, ...]
    machine: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def names() -> list[str]:
        """Names of the shipped tables, sorted."""
        return sorted(file.stem for file in assets.data_folder(FOLDER).glob("*.json"))

    @classmethod
    def load(cls, name: str | Path) -> HybridBench:
        """A shipped table by its name, or one in a file.

        Raises UnknownName for a name that is no table, and BadFile for a file that is none.
        """
        file = assets.data_folder(FOLDER) / f"{name}.json"
        if not file.is_file():
            file = convert(name, Path, "table")
        if not file.is_file():
            raise UnknownName("table", str(name), cls.names())
        data = read_json(file)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadFile(file, f'not a table of HybridBench (expected an object with "format": {FORMAT})')
        try:
            return from_mapping(cls, {key: value for key, value in data.items() if key != "format"})
        except ManticoreError as error:
            raise BadFile(file, str(error)) from None

    @property
    def digest(self) -> str:
        """Hash of the content, but for times and machine."""
        content = {key: value for key, value in asdict(self).items() if key not in ("machine", "paths")}
        paths = [{key: value for key, value in asdict(record).items() if key != "seconds"} for record in self.paths]
        return hashlib.blake2b(json.dumps([content, paths], sort_keys=True).encode(), digest_size=16).hexdigest()

    def save(self, file: Path | str) -> None:
        """Write the table as JSON, atomically."""
        write_json(Path(file), {"format": FORMAT, **asdict(self)})

    def __getitem__(self, path: Sequence[str]) -> PathRecord:
        """The record of a path. Raises ManticoreError for a path that is not in the table."""
        if isinstance(path, str) or not isinstance(path, Sequence):
            raise ManticoreError(f"a path is a list of a candidate for each stage, not {shown(path)}")
        for record in self.paths:
            if record.path == tuple(path):
                return record
        raise ManticoreError(f"{' · '.join(map(str, path))} is no path of the table '{self.name}'")

    def best(self, split: Split = "test") -> PathRecord:
        """The path with the best mean score on a split."""
        return max(self.paths, key=lambda record: self._gain(record, split))

    def regret(self, path: Sequence[str], split: Split = "test") -> float:
        """How far a path is behind the best one in the mean over seeds, in `unit`; 0 for the best."""
        return (self._gain(self.best(split), split) - self._gain(self[path], split)) * self.scale

    def rank_correlations(
        self, scores: Mapping[tuple[str, ...], float], split: Split = "test"
    ) -> tuple[float | None, float | None]:
        """Kendall's tau-b and Spearman's rho of scores of paths, larger being better, with those of the table.

        None where all scores are equal. Raises ManticoreError for a path that is not in the table, and for fewer than
        two paths.
        """
        truth = [self._gain(self[path], split) for path in scores]
        own = [*scores.values()]
        return kendall(own, truth), spearman(own, truth)

    def seed_agreement(self) -> SeedAgreement | None:
        """How well one seed of every path predicts the other seeds. None for a table with one seed."""
        if len(self.seeds) < 2:
            return None
        sign = 1 if self.larger_is_better else -1
        regrets, taus, rhos = list[float](), list[float | None](), list[float | None]()
        for seed in range(len(self.seeds)):
            own = [sign * record.val[seed] for record in self.paths]
            truth = [sign * fmean(record.test[:seed] + record.test[seed + 1 :]) for record in self.paths]
            chosen = max(range(len(own)), key=own.__getitem__)
            regrets.append((max(truth) - truth[chosen]) * self.scale)
            taus.append(kendall(own, truth))
            rhos.append(spearman(own, truth))
        return SeedAgreement(fmean(regrets), mean_of_known(taus), mean_of_known(rhos))

    def _gain(self, record: PathRecord, split: Split) -> float:
        return record.mean(split) if self.larger_is_better else -record.mean(split)
