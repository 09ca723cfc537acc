"""Each table of HybridBench as a proxy of the others: which path it would have chosen. Rewrites a section of a page.

    python benchmarks/proxies.py           # after new tables or searches
    python benchmarks/proxies.py --check   # status 1 if the page is not that of the shipped tables

Nothing is trained. Tables whose spaces have the same paths are proxies of each other. The choices of searches are those
of `benchmarks/results/strategies-cpu.json`. The section is that between two marks in `docs/results/transfer.md`.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from manticore.nas.bench import HybridBench
from manticore.report.table import Row, Table
from manticore.results.strategies import StrategyBench
from manticore.training.metrics import metrics
from manticore.utils.formatting import DASH, fixed

ROOT = Path(__file__).resolve().parents[1]
PAGE, SEARCHES = ROOT / "docs" / "results" / "transfer.md", ROOT / "benchmarks" / "results" / "strategies-cpu.json"
MARKS = ("<!-- by benchmarks/proxies.py -->\n", "<!-- end -->\n")


def main() -> int:
    """Rewrite the section, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index(MARKS[0]) + len(MARKS[0]), page.index(MARKS[1])
    tables = [HybridBench.load(name) for name in HybridBench.names()]
    section = "\n".join(["", *sections(tables, read_searches(SEARCHES)), ""])
    new = page[:start] + section + page[end:]
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    return int(check and new != page)


def read_searches(file: Path) -> StrategyBench:
    """The searches in a result file with any name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / StrategyBench.FILE).write_bytes(file.read_bytes())
        return StrategyBench.load(folder)


def sections(tables: Sequence[HybridBench], searches: StrategyBench) -> Iterator[str]:
    """For each group of tables with the same paths the regrets and rank correlations between them, in Markdown."""
    groups: dict[frozenset[tuple[str, ...]], list[HybridBench]] = {}
    for table in tables:
        groups.setdefault(frozenset(record.path for record in table.paths), []).append(table)
    for group in groups.values():
        names = ", ".join(f"`{table.name}`" for table in group)
        if len(group) == 1:
            yield f"No other table has the paths of {names}.\n"
            continue
        yield f"### {names}\n"
        yield choice_table(group).markdown()
        yield correlation_table(group).markdown()
        searched = [table for table in group if any(trial.table == table.name for trial in searches.trials)]
        if searched and (by_search := search_table(searched, searches)).rows:
            yield by_search.markdown()


def choice_table(group: Sequence[HybridBench]) -> Table:
    """The regret on each target of the path with the best validation score on each proxy, and on all other tables."""
    rows = [Row((f"best on {name(proxy)}", *[_regret(proxy, target) for target in group])) for proxy in group]
    for label, regrets in {
        "best on all others, by mean rank": [
            _value(target, best_on_all(tables_without(group, target))) for target in group
        ],
        "best on the target's validation split": [_value(target, target.best("val").path) for target in group],
    }.items():
        rows.append(Row((label, *regrets)))
    random = [fmean(target.regret(record.path) for record in target.paths) for target in group]
    rows.append(Row(("random path", *(_format(target, regret) for target, regret in zip(group, random, strict=True)))))
    return Table(("chosen path, its regret on", *(f"{name(target)}, {target.unit}" for target in group)), tuple(rows))


def correlation_table(group: Sequence[HybridBench]) -> Table:
    """Kendall's tau over all paths of validation scores on a proxy with test scores on a target."""
    rows = []
    for proxy in group:
        truth = {record.path: _gain(proxy, record.mean("val")) for record in proxy.paths}
        taus = [target.rank_correlations(truth)[0] for target in group]
        rows.append(Row((name(proxy), *(DASH if tau is None else fixed(tau) for tau in taus))))
    return Table(("tau of validation scores on, with test scores on", *map(name, group)), tuple(rows))


def search_table(group: Sequence[HybridBench], searches: StrategyBench) -> Table:
    """The regret on each target of paths that were chosen by searches on the other tables, and on the target."""
    rows = []
    for method in searches.methods:
        cells = []
        for target in group:
            proxies = [trial for proxy in tables_without(group, target) for trial in searches.of(proxy.name, method)]
            if not proxies or not searches.of(target.name, method):
                break
            elsewhere = fmean(target.regret(trial.path) for trial in proxies)
            itself = fmean(target.regret(trial.path) for trial in searches.of(target.name, method))
            cells.append(f"{_format(target, elsewhere)} ({_format(target, itself)})")
        if len(cells) == len(group):
            rows.append(Row((method, *cells)))
    titles = (f"{name(target)}, {target.unit}" for target in group)
    return Table(("searched on the others (on the target itself)", *titles), tuple(rows))


def name(table: HybridBench) -> str:
    """The name of a table without its family: `fuzzy recall`."""
    return re.sub(r"^(mad|text)-", "", table.name).replace("-", " ")


def tables_without(group: Sequence[HybridBench], target: HybridBench) -> list[HybridBench]:
    """The tables of a group without one of them."""
    return [table for table in group if table is not target]


def best_on_all(proxies: Sequence[HybridBench]) -> tuple[str, ...]:
    """The path with the best mean rank by validation score over several tables, the first one of equals."""
    ranks = {record.path: 0.0 for record in proxies[0].paths}
    for proxy in proxies:
        ordered = sorted(proxy.paths, key=lambda record: -_gain(proxy, record.mean("val")))
        for rank, record in enumerate(ordered):
            ranks[record.path] += rank
    return min(ranks, key=lambda path: ranks[path])


def _regret(proxy: HybridBench, target: HybridBench) -> str:
    return DASH if proxy is target else _value(target, proxy.best("val").path)


def _value(target: HybridBench, path: Sequence[str]) -> str:
    return _format(target, target.regret(path))


def _format(target: HybridBench, regret: float) -> str:
    return f"{regret:.{metrics[target.metric].digits}f}"


def _gain(table: HybridBench, score: float) -> float:
    return score if table.larger_is_better else -score


if __name__ == "__main__":
    raise SystemExit(main())
