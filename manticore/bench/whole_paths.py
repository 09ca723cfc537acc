"""Times of parts scaled so that their sums are the times of whole paths.

A part that is timed by itself starts with the code and the caches of another, and has the fixed costs of a call. In a
path its neighbours often run the same code, and on a GPU they do not wait for each other. So some paths are timed as a
whole, beside the parts: each candidate alone, and in turns with the next one. The parts of each candidate get a factor,
the ends of the model none, by least squares of the relative errors of these paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from manticore.components.spec import SKIP
from manticore.nas.choices import PathNames
from manticore.nas.latency import TimedPart, parts_of
from manticore.nas.supernet import Supernet

LEAST, MOST = 0.5, 2.0
"""Range of the factors: beyond it something else than the parts was measured."""


def reference_paths(supernet: Supernet) -> list[PathNames]:
    """Each candidate alone, and in turns with the next one, where these are paths."""
    choices, stages = supernet.choices, supernet.space.stages
    names = [name for name in choices.candidates if name != SKIP and choices.has_alone(name)]
    alone = [(name,) * stages for name in names]
    turns = [((first, second) * stages)[:stages] for first, second in zip(names, names[1:] + names[:1], strict=True)]
    return [
        path
        for path in dict.fromkeys((*alone, *turns))
        if all(path[stage] == path[choices.rows[stage]] for stage in range(stages))
    ]


def path_parts(supernet: Supernet, path: Sequence[str]) -> list[tuple[str, TimedPart]]:
    """The parts of a path, each with its candidate; of the ends the candidate is empty."""
    topology = supernet.topology
    parts = [
        ("" if part.kind == "ends" else name, part)
        for stage, name in enumerate(path)
        for part in parts_of(topology.path_modules(supernet, stage, name), name)
    ]
    return [*parts, *(("", part) for part in parts_of(topology.fixed_modules(supernet), supernet.base))]


def scaled_times(supernet: Supernet, times: Mapping[str, float], whole: Mapping[PathNames, float]) -> dict[str, float]:
    """The times of parts by digest, scaled; a part that is on none of the whole paths keeps its time.

    Args:
        supernet: of the paths.
        times: of parts by digest; paths with other parts are not used.
        whole: times of paths, in the same unit.
    """
    names: dict[str, str] = {}  # of parts that are equal, the first candidate
    rows, targets = list[dict[str, float]](), list[float]()
    for path, total in whole.items():
        parts = path_parts(supernet, path)
        if not all(part.digest in times for _, part in parts):
            continue
        row = dict.fromkeys(supernet.candidates, 0.0)
        for name, part in parts:
            name = names.setdefault(part.digest, name)
            row[name] = row.get(name, 0.0) + times[part.digest] / total
        targets.append(1 - row.pop("", 0.0))
        rows.append(row)
    if not rows:
        return dict(times)
    used = [name for name in supernet.candidates if any(row[name] for row in rows)]
    factors, *_ = np.linalg.lstsq(np.array([[row[name] for name in used] for row in rows]), np.array(targets))
    by_name = dict(zip(used, factors.clip(LEAST, MOST).tolist(), strict=True))
    return {digest: by_name.get(names.get(digest, ""), 1.0) * time for digest, time in times.items()}
