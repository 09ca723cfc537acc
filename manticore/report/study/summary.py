"""A study in sentences that claim no more than the intervals of its numbers allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manticore.errors import ManticoreError
from manticore.report.run.summary import discretization
from manticore.results.study import StudyResult, TaskResult
from manticore.training.metrics import ACCURACY, Metric
from manticore.utils.formatting import count, counted, estimate, listed
from manticore.utils.statistics import Interval

BUDGETS = {"tokens": "same training tokens", "flops": "same training FLOPs"}
"""What all models have in common, by budget."""

VERBS = {"win": "beats", "loss": "loses to", "tie": "ties with"}
SHORT_VERBS = {"loss": "loses", "tie": "ties"}
PLURALS = {"win": "wins", "loss": "losses"}


def conclusion(arm: str, opponent: str, differences: Mapping[str, Interval]) -> str:
    """One sentence on which of two models is better on how many tasks, and how certain that is.

    "the hybrid beats mamba on 4 of 6 tasks and loses on 2; the interval of the difference excludes zero on 3 of the 4
    wins, but on no loss". Without intervals the second part is omitted.

    Args:
        arm, opponent: names of the two models, as in the middle of a sentence.
        differences: by task, the interval of the difference, positive where `arm` is better. A mean of zero is a tie.

    Raises ManticoreError without tasks.
    """
    if not differences:
        raise ManticoreError(f"there is no task on which '{arm}' and '{opponent}' can be compared.")
    intervals = list(differences.values())
    outcomes = {
        "win": [interval for interval in intervals if interval.mean > 0],
        "loss": [interval for interval in intervals if interval.mean < 0],
        "tie": [interval for interval in intervals if interval.mean == 0],
    }
    certainty = _certainty(outcomes)
    return f"{arm} {_outcome(opponent, outcomes, list(differences))}{f'; {certainty}' if certainty else ''}"


ONE_SEED = "; with one seed there is no interval"
"""End of conclusions in results of earlier versions, which is replaced by a single note."""


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    text = text.strip().removesuffix(ONE_SEED)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def interval_note(study: StudyResult) -> str:
    """The meaning of bars and margins; empty with one seed, for which the page has a single note."""
    if len(study.seeds) == 1:
        return ""
    return f"Bars and margins are 95% confidence intervals over {len(study.seeds)} seeds (Student's t)."


def leads_note(metrics: Sequence[Metric]) -> str:
    """Caption of the charts of leads, one chart for each metric."""
    units = {ACCURACY.name: "percentage points"}
    listing = " or, in the second chart, ".join(units.get(metric.name, metric.unit) for metric in metrics)
    return (
        f"Lead of the hybrid over each opponent in {listing}, paired over seeds; right of the line the hybrid is "
        "better. Gray: the interval includes zero, or there is none."
    )


def scores_note(study: StudyResult) -> str:
    """Caption of the table of all tasks."""
    units = {ACCURACY.name: "accuracy in percent"}
    labels = [units.get(metric.name, f"{metric.label} (lower is better)") for metric in study.metrics]
    return sentence(f"{' or '.join(labels)}; the best score on each task is bold")


def task_caption(task: TaskResult) -> str:
    """The budgets of a task, its base model, the excluded baselines and the heuristics."""
    budgets = {"tokens": f"on {task.sequences:,} sequences", "flops": f"with {count(task.train_flops)} FLOPs"}
    spent = " or, in the second table, ".join(budgets[budget] for budget in task.tables)
    parts = [f"All models were trained {spent}.", f"The base model is {task.base}."]
    parts += [f"Excluded: {'; '.join(task.excluded)}."] if task.excluded else []
    heuristics = [f"{name} ({task.metric.format(value)})" for name, value in task.heuristics.items()]
    parts += [f"Heuristic baselines: {listed(heuristics)}; dashed lines where in range."] if heuristics else []
    parts += [] if task.metric.higher_is_better else [f"Lower {task.metric.label} are better."]
    return " ".join(parts)


def task_sentences(task: TaskResult) -> list[str]:
    """The path of the hybrid, what discretization changes, the exported model, and leads over the test documents."""
    exported = ""
    if task.exported is not None:
        exported = (
            f"The better of hybrid and components on the validation split reaches {_score(task, task.exported.score)}."
        )
    first = " ".join(filter(None, (_chosen_path(task), _discretization(task), exported)))
    return [text for text in (first, _document_leads(task)) if text]


def ranking_caption(task: TaskResult) -> str:
    """How all paths were trained, and how their chart is read."""
    seeds = counted(max(path.score.count for path in task.paths), "seed")
    return f"Each path was trained alone with {seeds}; the best is first. Tinted: chosen by this number of searches."


def ranking_sentence(task: TaskResult) -> str:
    """The regret of the chosen paths, and how well the search ranks paths; empty if these were not measured."""
    parts = []
    if task.regret is not None:
        regret = task.metric.format_regret(task.regret.mean, task.regret.margin)
        parts.append(f"The paths that the searches chose are {regret} the best of {len(task.paths)}.")
    if task.correlation is not None:
        parts.append(
            f"The rank correlation between the search's ranking of the paths and their ranking by {task.metric.label} "
            f"is {estimate(task.correlation)}."
        )
    return " ".join(parts)


def fairness(study: StudyResult) -> dict[str, object]:
    """The conditions that are equal for all models, as names and values."""
    budgets = [f"the {BUDGETS[budget]}" for budget in study.budgets]
    both = len(budgets) > 1
    grid = listed([f"{lr:g}" for lr in study.learning_rates])
    lr_seeds = counted(study.lr_search_seeds, "seed")
    return {
        "budget": f"{budgets[0]} in the first table, {budgets[1]} in the second" if both else budgets[0],
        "learning rate": f"the best of {grid} on the validation split with {lr_seeds}; the same grid for all models",
        "seeds": f"{listed([str(seed) for seed in study.seeds])} for all models; differences are paired over seeds",
        "test split": "read once, after all choices were made",
    }


def _chosen_path(task: TaskResult) -> str:
    """The path of the hybrid, under each budget if they differ; empty if all its seeds diverged."""
    paths = {budget: arms[0].path_summary for budget, arms in task.tables.items() if arms[0].path_summary}
    if len(set(paths.values())) > 1:
        return f"Path of the hybrid: {'; '.join(f'{path} ({BUDGETS[budget]})' for budget, path in paths.items())}."
    return f"Path of the hybrid: {next(iter(paths.values()))}." if paths else ""


def _discretization(task: TaskResult) -> str:
    gap = task.gap
    if gap is None:
        return ""
    metric = task.metric
    change = metric.format_lead(metric.sort_key(gap.discrete.mean) - metric.sort_key(gap.soft.mean))
    return discretization(_score(task, gap.soft), _score(task, gap.discrete), change, _score(task, gap.finetuned))


def _document_leads(task: TaskResult) -> str:
    """The leads over the documents of the test split, under the first budget; empty for other tasks than text."""
    leads = next(iter(task.document_leads.values()), {})
    if not leads:
        return ""
    changes = [f"{task.metric.format_lead(lead.mean, lead.margin)} than {name}" for name, lead in leads.items()]
    documents = counted(max(lead.count for lead in leads.values()), "document")
    return f"For these models, over the {documents} of the test split, the hybrid is {listed(changes)}."


def _score(task: TaskResult, interval: Interval) -> str:
    return task.metric.format(interval.mean, interval.margin)


def _outcome(opponent: str, outcomes: Mapping[str, list[Interval]], tasks: list[str]) -> str:
    """`beats mamba on 4 of 6 tasks, loses on 1 and ties on 1`."""
    for name, intervals in outcomes.items():
        if len(intervals) == len(tasks):
            every = "both" if len(tasks) == 2 else f"all {len(tasks)}"
            return f"{VERBS[name]} {opponent} on {tasks[0] if len(tasks) == 1 else f'{every} tasks'}"
    wins = len(outcomes["win"]) or ("neither" if len(tasks) == 2 else "none")
    parts = [f"beats {opponent} on {wins} of {len(tasks)} tasks"]
    return listed(parts + [f"{verb} on {len(outcomes[name])}" for name, verb in SHORT_VERBS.items() if outcomes[name]])


def _certainty(outcomes: Mapping[str, list[Interval]]) -> str:
    """`the interval of the difference excludes zero on 3 of the 4 wins, but on no loss`."""
    intervals = [interval for group in outcomes.values() for interval in group]
    single = sum(interval.low is None for interval in intervals)
    if single == len(intervals):
        return ""  # said once, of the whole study
    certain = {name: sum(interval.excludes_zero for interval in outcomes[name]) for name in PLURALS if outcomes[name]}
    if len(intervals) == 1:
        return f"the interval of the difference {'excludes' if sum(certain.values()) else 'includes'} zero"
    if any(certain.values()):
        some = [_share(number, len(outcomes[name]), name) for name, number in certain.items() if number]
        none = "".join(f", but on no {name}" for name, number in certain.items() if not number)
        text = f"the interval of the difference excludes zero on {listed(some)}{none}"
    else:
        text = f"the interval of the difference includes zero {'wherever there is one' if single else 'everywhere'}"
    if single:
        text += f"; on {counted(single, 'task')} there is one seed and no interval"
    return text


def _share(number: int, total: int, name: str) -> str:
    """`3 of the 4 wins`, `both losses`, `the one win`."""
    if total == 1:
        return f"the one {name}"
    if number == total:
        return f"both {PLURALS[name]}" if total == 2 else f"all {total} {PLURALS[name]}"
    return f"{number} of the {total} {PLURALS[name]}"
