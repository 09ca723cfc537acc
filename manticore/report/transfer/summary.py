"""A transfer in sentences that claim no more than the intervals of its numbers allow."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.results.transfer import BEST, TRANSFERRED, TrainingCost, TransferArm, TransferResult
from manticore.utils.formatting import count, estimate, listed
from manticore.utils.path_text import path_text
from manticore.utils.statistics import Interval


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
    target, metric = result.target, result.target.metric
    chosen, base = result.arm(TRANSFERRED), result.arm(f"{target.base} alone")
    text = (
        f"The searches on {listed(result.proxy_names)} choose {_path(chosen)}, which ranks {chosen.rank} of "
        f"{len(result.paths)} on {target.task} with {metric.format(chosen.score.mean, chosen.score.margin)}."
    )
    if chosen.path == base.path:
        return f"{text} This path is {base.name}."
    side, _, size = metric.format_lead(chosen.lead.mean, chosen.lead.margin).partition(" ")
    compared = f"{side} than {base.name} {size}" if size.startswith("by") else f"{side} to {base.name} {size}".rstrip()
    return f"{text} It is {compared}; {certainty(chosen.lead)}."


def _path(arm: TransferArm) -> str:
    return path_text(arm.path or ())


def _regret(result: TransferResult) -> str:
    chosen, best = result.arm(TRANSFERRED), result.arm(BEST)
    if chosen.regret is None or chosen.path == best.path:
        return "No path is better."
    regret = result.target.metric.format_regret(chosen.regret.mean, chosen.regret.margin)
    return f"It is {regret} the best path, {_path(best)}, which is selected by test scores; {certainty(chosen.regret)}."


def _prediction(result: TransferResult) -> list[str]:
    """How well the paths' scores on the proxies and the scores of the searches rank the paths."""
    label, overall = result.target.metric.label, result.correlations[-1]
    proxies, score = ("the proxy", label) if len(result.proxies) == 1 else ("the proxies", f"mean {label}")
    return [
        _rank_correlation(f"{score} on {proxies}", overall.score, result),
        _rank_correlation(f"the scores of the searches on {proxies}", overall.search_score, result),
    ]


def _rank_correlation(predictor: str, correlation: Interval | None, result: TransferResult) -> str:
    score = f"{result.target.metric.label} on {result.target.task}"
    text = f"Over all {len(result.paths)} paths the rank correlation of {predictor} with {score}"
    if correlation is None:
        return f"{text} is undefined: one of the two is the same for all paths."
    if correlation.low is None:
        return f"{text} is {estimate(correlation)}; there are too few paths for an interval."
    chance = "" if correlation.excludes_zero else ", so it may be chance"
    return f"{text} is {estimate(correlation)}; {certainty(correlation)}{chance}."


def _target_search(result: TransferResult) -> str:
    """The result of the search on the target itself; empty if there was none."""
    search = result.search
    if search is None:
        return ""
    score = result.target.metric.format(search.score.mean, search.score.margin)
    own = ""
    if search.correlation is not None:
        own = f"; the rank correlation of its own scores is {estimate(search.correlation)}"
    return f"A search on {result.target.task} itself reaches {score}{own}."


def _costs(costs: Sequence[TrainingCost]) -> str:
    proxy, target = (
        next(cost for cost in costs if cost.name == f"one search on {where}") for where in ("each proxy", "the target")
    )
    flops = "an unmeasured number of" if target.flops is None else count(target.flops)
    return (
        f"With one seed, {proxy.name} takes {count(proxy.tokens)} tokens and {count(proxy.flops)} FLOPs, "
        f"{target.name} {count(target.tokens)} tokens and {flops} FLOPs."
    )
