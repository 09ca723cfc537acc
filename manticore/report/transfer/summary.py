"""What programming found, in sentences, with no more certainty than its numbers have. Knows nothing of markup."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.results.transfer import Cost, TransferResult
from manticore.utils.formatting import count, listed, percent, points
from manticore.utils.statistics import Interval


def sentences(told: TransferResult) -> list[str]:
    """The result, how far it is from the best, how well the proxies predict, and what they cost."""
    found = [_result(told), _regret(told), *_prediction(told), _search(told), _costs(told.costs)]
    return [sentence for sentence in found if sentence]


def signed(held: Interval | None) -> str:
    """A rank correlation: `0.62 (−0.10 to 0.90)`, or that there is none."""
    if held is None:
        return "none: one side is the same for all paths"
    mean = _two(held.mean)
    return mean if held.low is None or held.high is None else f"{mean} ({_two(held.low)} to {_two(held.high)})"


def certainty(held: Interval) -> str:
    """Whether the interval says that there is anything."""
    if held.low is None:
        return "there is no interval"
    return f"the interval {'excludes' if held.excludes_zero else 'includes'} zero"


def _result(told: TransferResult) -> str:
    held, base = told.standing("programmed path"), told.standing(f"{told.base} alone")
    where = f"place {held.place} of {len(told.paths)}"
    start = f"The searches on {listed(told.proxies)} come to {held.path}, {where} on {told.task}"
    start += f" with {percent(held.accuracy.mean, held.accuracy.margin)}."
    if held.path == base.path:
        return f"{start} That is {base.name}."
    against = f"{points(held.lead.mean, held.lead.margin)} points"
    return f"{start} Against {base.name} that is {against}; {certainty(held.lead)}."


def _regret(told: TransferResult) -> str:
    held, best = told.standing("programmed path"), told.standing("best path")
    if held.regret is None or held.path == best.path:
        return "No path is better."
    below = f"{points(held.regret.mean, held.regret.margin).lstrip('+')} points"
    return f"It is {below} below the best path, {best.path}, which its own test scores pick; {certainty(held.regret)}."


def _prediction(told: TransferResult) -> list[str]:
    """By accuracy, and by the searches."""
    every, mean = told.transfers[-1], "accuracy" if len(told.proxies) == 1 else "mean accuracy"
    return [
        _correlated(f"{mean} on {_the(told.proxies)}", every.accuracy, told),
        _correlated(f"the log weights of the searches on {_the(told.proxies)}", every.log_weight, told),
    ]


def _correlated(what: str, held: Interval | None, told: TransferResult) -> str:
    start = f"Over all {len(told.paths)} paths the rank correlation of {what} with accuracy on {told.task}"
    if held is None:
        return f"{start} cannot be told: one side is the same for all paths."
    if held.low is None:
        return f"{start} is {signed(held)}; so few paths have no interval."
    return f"{start} is {signed(held)}; {certainty(held)}{'' if held.excludes_zero else ', so it may be chance'}."


def _search(told: TransferResult) -> str:
    """What the target's own search came to; empty if there was none."""
    if told.search is None:
        return ""
    reached = percent(told.search.accuracy.mean, told.search.accuracy.margin)
    own = "" if told.target_correlation is None else f"; its own correlation is {signed(told.target_correlation)}"
    return f"A search on {told.task} itself reaches {reached}{own}."


def _costs(costs: Sequence[Cost]) -> str:
    cheap, dear = (next(held for held in costs if held.name == f"one search on {whom}") for whom in WHOM)
    spent = f"takes {count(cheap.tokens)} tokens and {count(cheap.flops)} FLOPs"
    other = f"{count(dear.tokens)} tokens"
    other += " (its FLOPs were not measured)" if dear.flops is None else f" and {count(dear.flops)} FLOPs"
    return f"With one seed, {cheap.name} {spent}, {dear.name} {other}."


WHOM = ("each proxy", "the target")


def _the(proxies: Sequence[str]) -> str:
    return "the proxy" if len(proxies) == 1 else "the proxies"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
