"""A transfer in sentences that claim no more than the intervals of its numbers allow."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.results.transfer import Cost, TransferResult
from manticore.training.metrics import ACCURACY
from manticore.utils.formatting import count, estimate, listed
from manticore.utils.statistics import Interval

CHOSEN, BEST = "programmed path", "best path"


def sentences(result: TransferResult) -> list[str]:
    """The chosen path, its distance to the best path, how well the proxies predict, and what they cost."""
    texts = [_chosen(result), _regret(result), *_prediction(result), _target_search(result), _costs(result.costs)]
    return [text for text in texts if text]


def certainty(interval: Interval) -> str:
    """Whether an interval excludes zero."""
    if interval.low is None:
        return "there is no interval"
    return f"the interval {'excludes' if interval.excludes_zero else 'includes'} zero"


def _chosen(result: TransferResult) -> str:
    chosen, base = result.standing(CHOSEN), result.standing(f"{result.base} alone")
    text = (
        f"The searches on {listed(result.proxies)} choose {chosen.path}, which ranks {chosen.place} of "
        f"{len(result.paths)} on {result.task} with {ACCURACY.format(chosen.accuracy.mean, chosen.accuracy.margin)}."
    )
    if chosen.path == base.path:
        return f"{text} This path is {base.name}."
    lead = ACCURACY.format_change(chosen.lead.mean, chosen.lead.margin)
    return f"{text} Its difference to {base.name} is {lead}; {certainty(chosen.lead)}."


def _regret(result: TransferResult) -> str:
    chosen, best = result.standing(CHOSEN), result.standing(BEST)
    if chosen.regret is None or chosen.path == best.path:
        return "No path is better."
    regret = ACCURACY.format_regret(chosen.regret.mean, chosen.regret.margin)
    return f"It is {regret} the best path, {best.path}, which is selected by test scores; {certainty(chosen.regret)}."


def _prediction(result: TransferResult) -> list[str]:
    """How well the paths' accuracies on the proxies and the weights of the searches rank the paths."""
    single = len(result.proxies) == 1
    proxies, accuracy = "the proxy" if single else "the proxies", "accuracy" if single else "mean accuracy"
    overall = result.transfers[-1]
    return [
        _rank_correlation(f"{accuracy} on {proxies}", overall.accuracy, result),
        _rank_correlation(f"the log weights of the searches on {proxies}", overall.log_weight, result),
    ]


def _rank_correlation(predictor: str, correlation: Interval | None, result: TransferResult) -> str:
    text = f"Over all {len(result.paths)} paths the rank correlation of {predictor} with accuracy on {result.task}"
    if correlation is None:
        return f"{text} is undefined: one of the two is the same for all paths."
    if correlation.low is None:
        return f"{text} is {estimate(correlation)}; there are too few paths for an interval."
    chance = "" if correlation.excludes_zero else ", so it may be chance"
    return f"{text} is {estimate(correlation)}; {certainty(correlation)}{chance}."


def _target_search(result: TransferResult) -> str:
    """The result of the search on the target itself; empty if there was none."""
    if result.search is None:
        return ""
    accuracy = ACCURACY.format(result.search.accuracy.mean, result.search.accuracy.margin)
    correlation = result.target_correlation
    own = "" if correlation is None else f"; the rank correlation of its own log weights is {estimate(correlation)}"
    return f"A search on {result.task} itself reaches {accuracy}{own}."


def _costs(costs: Sequence[Cost]) -> str:
    proxy, target = (
        next(cost for cost in costs if cost.name == f"one search on {where}") for where in ("each proxy", "the target")
    )
    flops = "an unmeasured number of" if target.flops is None else count(target.flops)
    return (
        f"With one seed, {proxy.name} takes {count(proxy.tokens)} tokens and {count(proxy.flops)} FLOPs, "
        f"{target.name} {count(target.tokens)} tokens and {flops} FLOPs."
    )
