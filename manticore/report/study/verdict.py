"""What intervals over seeds say, in a sentence: who is ahead, who is behind, and what cannot be said."""

from __future__ import annotations

from collections.abc import Mapping

from manticore.errors import ManticoreError
from manticore.utils.statistics import Interval


def verdict(ours: str, theirs: str, differences: Mapping[str, Interval]) -> str:
    """One sentence on who is better where, and how sure that is.

    "the hybrid beats mamba on 4 of 6 tasks and loses on 2; the interval of the difference excludes zero on 3 of the 4
    wins, but on no loss".

    Args:
        ours, theirs: the two baselines, as they should be called in the middle of a sentence.
        differences: by task, the interval of ours minus theirs, positive where ours is better. A mean of exactly zero
            is a tie.

    Raises ManticoreError without tasks.
    """
    if not differences:
        raise ManticoreError(f"there is no task on which '{ours}' and '{theirs}' could be compared.")
    groups = {
        "win": [held for held in differences.values() if held.mean > 0],
        "loss": [held for held in differences.values() if held.mean < 0],
        "tie": [held for held in differences.values() if held.mean == 0],
    }
    return f"{ours} {_outcome(theirs, groups, list(differences))}; {_certainty(groups)}"


FIRST = {"win": "beats", "loss": "loses to", "tie": "ties with"}
NEXT = {"loss": "loses", "tie": "ties"}
MANY = {"win": "wins", "loss": "losses"}


def _outcome(theirs: str, groups: Mapping[str, list[Interval]], tasks: list[str]) -> str:
    """`beats mamba on 4 of 6 tasks, loses on 1 and ties on 1`."""
    for name, held in groups.items():
        if len(held) == len(tasks):
            every = "both" if len(tasks) == 2 else f"all {len(tasks)}"
            return f"{FIRST[name]} {theirs} on {tasks[0] if len(tasks) == 1 else f'{every} tasks'}"
    wins = len(groups["win"]) or ("neither" if len(tasks) == 2 else "none")
    said = [f"beats {theirs} on {wins} of {len(tasks)} tasks"]
    said += [f"{verb} on {len(groups[name])}" for name, verb in NEXT.items() if groups[name]]
    return _joined(said)


def _certainty(groups: Mapping[str, list[Interval]]) -> str:
    """What the intervals say: `the interval of the difference excludes zero on 3 of the 4 wins, but on no loss`."""
    tasks = [held for group in groups.values() for held in group]
    without = sum(held.low is None for held in tasks)
    if without == len(tasks):
        return "with one seed there is no interval"
    sure = {name: sum(held.excludes_zero for held in groups[name]) for name in MANY if groups[name]}
    if len(tasks) == 1:
        return f"the interval of the difference {'excludes' if sum(sure.values()) else 'includes'} zero"
    if any(sure.values()):
        some = [_share(count, len(groups[name]), name) for name, count in sure.items() if count]
        none = "".join(f", but on no {name}" for name, count in sure.items() if not count)
        said = f"the interval of the difference excludes zero on {_joined(some)}{none}"
    else:
        said = f"the interval of the difference includes zero {'wherever there is one' if without else 'everywhere'}"
    if without:
        said += f"; on {without} {'task' if without == 1 else 'tasks'} there is one seed and no interval"
    return said


def _share(count: int, size: int, name: str) -> str:
    """`3 of the 4 wins`, `both losses`, `the one win`."""
    if size == 1:
        return f"the one {name}"
    if count == size:
        return f"both {MANY[name]}" if size == 2 else f"all {size} {MANY[name]}"
    return f"{count} of the {size} {MANY[name]}"


def _joined(said: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))
