"""Tables of HybridBench and of searches against it, for the terminal and for pages."""

from __future__ import annotations

from manticore.nas.bench import HybridBench, PathRecord
from manticore.report.table import HEURISTIC, Row, Table
from manticore.results.strategies import BY_ONE_SEED, StrategyBench
from manticore.training.metrics import metrics
from manticore.utils.formatting import DASH, count, duration, fixed, percent
from manticore.utils.path_text import path_text


def bench_table(table: HybridBench) -> Table:
    """Every path of a table with its scores and costs, the best by test first."""
    metric, best = metrics[table.metric], table.best()

    def scores(values: tuple[float, ...]) -> str:
        return " ".join(metric.format(value, unit=False).removesuffix(metric.suffix) for value in values)

    def row(record: PathRecord) -> Row:
        regret = metric.format_change(table.regret(record.path) / table.scale, unit=False).lstrip("+")
        costs = (count(record.parameters), count(record.flops_per_token), count(record.cache_bytes))
        seconds = duration(sum(record.seconds) / len(record.seconds))
        cells = (path_text(record.path), scores(record.val), scores(record.test), regret, *costs, seconds)
        return Row(cells, best=(2,) if record is best else ())

    ranked = sorted(table.paths, key=lambda record: table.regret(record.path))
    label = f"{metric.label}{metric.suffix.rstrip() and f' in{metric.suffix}'}"
    columns = ("path", "validation, by seed", "test, by seed", "regret", "parameters", "FLOPs/token", "cache", "time")
    short = ("path", "val", "test", "regret", "params", "FLOPs\n/token", "cache\nbytes", "time")
    return Table(columns, tuple(map(row, ranked)), f"{table.task}, {label}", short)


def strategy_tables(result: StrategyBench) -> list[Table]:
    """A table for each table of HybridBench: regret, rank correlation and costs of every method."""
    return [strategy_table(result, name) for name in result.tables]


def strategy_table(result: StrategyBench, name: str) -> Table:
    """Every method on one table, then choices that need no search."""
    facts, rows = result.tables[name], []
    digits, unit = facts.metric.digits, facts.metric.unit

    def number(value: float | None, digits: int = 2) -> str:
        return DASH if value is None else fixed(value, digits)

    for method in result.methods:
        regret = result.regret(name, method)
        if regret is None:
            continue
        trials = result.of(name, method)
        # With two seeds Student's interval is 13 times as wide as their distance, and not informative.
        margin = "" if regret.margin is None or regret.count < 3 else f" ± {regret.margin:.{digits}f}"
        shares = (percent(result.mean(name, method, field) or 0.0) for field in ("token_share", "flop_share"))
        correlations = (number(result.mean(name, method, field)) for field in ("tau", "rho"))
        chosen = str(len({trial.path for trial in trials}))
        rows.append(Row((method, f"{regret.mean:.{digits}f}{margin}", *correlations, *shares, chosen)))
    for choice, value in facts.references.items():
        known = choice == BY_ONE_SEED
        ranks = (number(facts.seed_tau if known else None), number(facts.seed_rho if known else None))
        rows.append(Row((choice, f"{value:.{digits}f}", *ranks, *[DASH] * 3), group=HEURISTIC))
    columns = ("method", f"regret in {unit}", "tau", "rho", "tokens spent", "FLOPs spent", "paths chosen")
    short = ("method", "regret", "tau", "rho", "tokens\nspent", "FLOPs\nspent", "paths\nchosen")
    title = f"{name}: {facts.task}, {facts.paths} paths, regret in {unit}"
    return Table(columns, tuple(rows), title, short)
