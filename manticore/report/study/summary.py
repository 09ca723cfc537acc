"""A study in sentences, with no more certainty than its numbers have. Knows nothing of markup."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.report.run.summary import discretized
from manticore.results.study import StudyResult
from manticore.results.task_result import TaskResult
from manticore.training.metrics import ACCURACY, Metric
from manticore.utils.formatting import count, counted, duration, listed
from manticore.utils.statistics import Interval

GIVEN = {"tokens": "the same training tokens", "flops": "the same training FLOPs"}
"""What everybody is given, by budget."""


def sentence(text: str) -> str:
    """Begun with a capital and ended with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def bars(study: StudyResult) -> str:
    """What bars and margins are; that there are none, with one seed."""
    most = max(one.reached.count for match in study.matches for held in match.tables.values() for one in held)
    if most == 1:
        return "There is one seed, so there are no intervals."
    return f"Bars and margins are 95% intervals over {most} seeds (Student's t)."


def leads(metrics: Sequence[Metric]) -> str:
    """What the pictures of the hybrid's lead show."""
    units = {ACCURACY.name: "percentage points"}
    said = " or, in the other picture, ".join(units.get(metric.name, metric.unit) for metric in metrics)
    return (
        f"The hybrid's lead over each opponent in {said}, paired over seeds: right of the line it is ahead. Grey: its "
        "interval holds zero, or there is none."
    )


def scores(study: StudyResult) -> str:
    """What stands in the table of all tasks."""
    words = {ACCURACY.name: "accuracy in percent"}
    told = [words.get(metric.name, f"{metric.label}, less being better") for metric in study.metrics]
    return sentence(f"{' or '.join(told)}, the best of each task set strong")


def told_of_task(match: TaskResult) -> str:
    """What the task was trained with, who is base and what guesses reach."""
    given = []
    if match.sequences is not None:
        given.append(f"{match.sequences:,.0f} training sequences")
    if match.train_flops is not None and "flops" in match.tables:
        given.append(f"{count(match.train_flops)} FLOPs of training")
    parts = [f"Everybody was given {' or, in the other table, '.join(given)}."] if given else []
    parts += [f"Base is {match.base}."] if match.base else []
    parts += [f"Not here: {'; '.join(match.absent)}."] if match.absent else []
    guesses = [f"{one.name} ({match.metric.format(one.reached.mean)})" for one in match.guesses]
    parts += [f"Guesses without a model, dashed if they are in the picture: {listed(guesses)}."] if guesses else []
    parts += [] if match.metric.higher_is_better else [f"Less {match.metric.label} is better."]
    return " ".join(parts)


def told_of_hybrid(match: TaskResult) -> str:
    """Which path it took, under each budget if they differ, the gap, what is exported; empty if nobody knows."""
    paths = {budget: one.path for budget, held in match.tables.items() for one in held if one.path}
    said = list(paths.values())[:1]
    if len(set(paths.values())) > 1:
        said = [f"with {GIVEN[budget]} {path}" for budget, path in paths.items()]
    path = f"The hybrid's path: {'; '.join(said)}." if said else ""
    handed = (
        ""
        if match.exported is None
        else f"What is exported, it or a better component: {_reached(match, match.exported)}."
    )
    return " ".join(filter(None, (path, _told_of_gap(match), handed)))


def _told_of_gap(match: TaskResult) -> str:
    """From soft over discrete to fine-tuned; empty if it was not measured."""
    soft, discrete, tuned = (match.gap.get(name) for name in ("soft", "discrete", "finetuned"))
    if soft is None or discrete is None:
        return ""
    change = match.metric.format_change(discrete.mean - soft.mean)
    after = None if tuned is None else _reached(match, tuned)
    return discretized(_reached(match, soft), _reached(match, discrete), change, after)


def told_of_documents(match: TaskResult) -> str:
    """How far it is ahead over the test's documents, with the first budget; empty if nobody knows."""
    leads = next(iter(match.document_leads.values()), {})
    if not leads:
        return ""
    told = [f"of {name} by {match.metric.format_change(held.mean, held.margin)}" for name, held in leads.items()]
    count = counted(max(held.count for held in leads.values()), "document")
    return f"With the models as they are, over the {count} of the test, it is ahead {listed(told)}."


def how_paths(match: TaskResult) -> str:
    """How all paths were trained, and how their list is read."""
    seeds = counted(max(tried.reached.count for tried in match.paths), "seed")
    return f"Every path trained by itself, {seeds}, best first; tinted: chosen by as many searches as its number says."


def told_of_paths(match: TaskResult) -> str:
    """How good the found paths are among all, and how well the search ranked them; empty if nobody knows."""
    parts = []
    if match.regret is not None:
        worse = match.metric.format_regret(match.regret.mean, match.regret.margin)
        parts.append(f"The paths that the searches found are {worse} the best{_of(len(match.paths))}.")
    if match.correlation is not None:
        low, high = match.correlation.low, match.correlation.high
        sure = "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"
        told = f"{_signed(match.correlation.mean)}{sure}"
        parts.append(f"The rank correlation of the search's scores with {match.metric.path_label} is {told}.")
    return " ".join(parts)


def fairness(study: StudyResult) -> dict[str, object]:
    """How the study was made fair, as names and words."""
    given = [GIVEN[budget] for budget in study.budgets]
    two = len(given) > 1
    facts: dict[str, object] = {"budget": f"in one table {given[0]}, in the other {given[1]}" if two else given[0]}
    if study.learning_rates:
        grid = listed([f"{rate:g}" for rate in study.learning_rates])
        seeds = "" if study.lr_search_seeds is None else f", with {counted(study.lr_search_seeds, 'seed')}"
        facts["learning rate"] = f"of {grid} the best on the validation split{seeds}; one grid for everybody"
    if study.seeds:
        facts["seeds"] = f"{listed(study.seeds)}, the same for everybody; differences are paired over them"
    facts["test split"] = "read once, when everything had been chosen"
    return facts


def effort(study: StudyResult) -> dict[str, object]:
    """How long it took, as names and words."""
    if study.seconds is None:
        return {}
    workers = "" if study.workers is None else f" with {counted(study.workers, 'worker')}"
    return {"time": f"{duration(study.seconds)}{workers}"}


def _reached(match: TaskResult, held: Interval) -> str:
    return match.metric.format(held.mean, held.margin)


def _of(paths: int) -> str:
    return f" of {paths}" if paths else ""


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
