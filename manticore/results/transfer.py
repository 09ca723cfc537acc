"""What `manticore transfer` found, as plain data, from program.json. Knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.results.plain import (
    called,
    interval,
    intervals,
    mapping,
    measured,
    number,
    number_or_none,
    reading,
    texts,
)
from manticore.utils.io import read_json
from manticore.utils.statistics import Interval

FILE = "program.json"


@dataclass(frozen=True)
class TriedPath:
    """A path that was trained on every task.

    Attributes:
        path: names of the target's components.
        proxy: mean accuracy on the proxies.
        proxies: accuracy on each of them.
        log_weight: of the searches, summed over proxies.
        accuracy: on the target's test split.
    """

    path: tuple[str, ...]
    proxy: Interval
    proxies: Mapping[str, Interval]
    log_weight: float
    accuracy: Interval

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> TriedPath:
        """From a path of program.json."""
        proxies = {task: measured(value) for task, value in mapping(held["proxies"]).items()}
        weight, reached = number(held["log_weight"]), measured(held["accuracy"])
        return cls(texts(held["path"]), measured(held["proxy"]), proxies, weight, reached)

    @property
    def words(self) -> str:
        """`mamba · gpt-neo`."""
        return " · ".join(self.path)


@dataclass(frozen=True)
class TransferArm:
    """What stands in the table of the target.

    Attributes:
        name: as it is printed.
        path: in words; empty if it has none.
        accuracy: on the test split.
        lead: over base alone.
        regret: how far the best path is above; None for what is no path.
        place: among all paths, from 1; None for what is no path.
    """

    name: str
    path: str
    accuracy: Interval
    lead: Interval
    regret: Interval | None
    place: int | None

    @classmethod
    def of(cls, held: Mapping[str, Any], where: Path | str = FILE) -> TransferArm:
        """From a standing of program.json. Raises BadFile for what is none."""
        with reading(where, called("standing", held, "name")):
            path, regret, place = held["path"] or "", held.get("regret"), held.get("place")
            return cls(
                name=str(held["name"]),
                path=path if isinstance(path, str) else " · ".join(texts(path)),
                accuracy=measured(held["accuracy"]),
                lead=interval(held["lead"]),
                regret=None if regret is None else interval(regret),
                place=None if place is None else int(place),
            )


@dataclass(frozen=True)
class ProxyCorrelation:
    """How well one proxy, or all, rank the target's paths: by accuracy, and by the search's weights."""

    proxy: str
    accuracy: Interval | None
    log_weight: Interval | None

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> ProxyCorrelation:
        """From a correlation of program.json."""
        found = intervals({key: held[key] for key in ("accuracy", "log_weight")})
        return cls(str(held["proxy"]), found.get("accuracy"), found.get("log_weight"))


@dataclass(frozen=True)
class Cost:
    """What one way costs in training; operations are None if it was not gone."""

    name: str
    tokens: float
    flops: float | None

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Cost:
        """From a cost of program.json."""
        return cls(str(held["name"]), number(held["tokens"]), number_or_none(held["flops"]))


@dataclass(frozen=True)
class TransferResult:
    """The whole.

    Attributes:
        task, metric: the target.
        base: the target's component that is base.
        components, target_components: of the proxies and of the target, in the same order.
        proxies: names of the proxies.
        programmed: the path the searches came to.
        standings: on the target; the programmed path first.
        search: the target's own search, if there was one.
        target_correlation: of that search's weights with what the paths reach.
        transfers: one for each proxy, and one for all together, last.
        costs: of each way.
        paths: all of the space.
        seeds: names of the seeds.
        learning_rates: the grid.
        machine, workers, seconds, version: how it was made.
    """

    task: str
    metric: str
    base: str
    components: tuple[str, ...]
    target_components: tuple[str, ...]
    proxies: tuple[str, ...]
    programmed: tuple[str, ...]
    standings: tuple[TransferArm, ...]
    search: TransferArm | None
    target_correlation: Interval | None
    transfers: tuple[ProxyCorrelation, ...]
    costs: tuple[Cost, ...]
    paths: tuple[TriedPath, ...]
    seeds: tuple[str, ...]
    learning_rates: tuple[float, ...]
    machine: Mapping[str, object]
    workers: float | None
    seconds: float | None
    version: str

    @classmethod
    def of(cls, held: Mapping[str, Any], where: Path | str = FILE) -> TransferResult:
        """From the content of program.json. Raises BadFile for what is not that."""
        with reading(where, "the result"):
            target, search = mapping(held["target"]), mapping(held.get("search"))
            return cls(
                task=str(target["task"]),
                metric=str(target["metric"]),
                base=str(target["base"]),
                components=texts(held["components"]),
                target_components=texts(target["components"]),
                proxies=tuple(str(proxy["task"]) for proxy in held["proxies"]),
                programmed=texts(held["programmed"]),
                standings=tuple(TransferArm.of(row, where) for row in held["standings"]),
                search=TransferArm.of(search, where) if search else None,
                target_correlation=intervals({"own": search.get("correlation")}).get("own"),
                transfers=tuple(ProxyCorrelation.of(row) for row in held["correlations"]),
                costs=tuple(Cost.of(row) for row in held["costs"]),
                paths=tuple(TriedPath.of(row) for row in held["paths"]),
                seeds=texts(held.get("seeds")),
                learning_rates=tuple(map(number, held.get("learning_rates") or ())),
                machine=mapping(held.get("machine")),
                workers=number_or_none(held.get("workers")),
                seconds=number_or_none(held.get("seconds")),
                version=str(held.get("manticore") or ""),
            )

    @classmethod
    def read(cls, folder: Path) -> TransferResult:
        """From `program.json` in a folder. Raises BadFile if it is not there or not such data."""
        file = folder / FILE
        return cls.of(read_json(file), file)

    @property
    def ranked(self) -> tuple[TriedPath, ...]:
        """All paths, the best on the target first."""
        return tuple(sorted(self.paths, key=lambda tried: -tried.accuracy.mean))

    def standing(self, name: str) -> TransferArm:
        """The standing of that name."""
        return next(held for held in self.standings if held.name == name)
