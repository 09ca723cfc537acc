"""The comparison table of a search: the score and the cost of every model on the test split."""

from __future__ import annotations

from manticore.report.table import HEURISTIC, Row, Table
from manticore.results.search import ModelRow, SearchResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import count


def comparison_table(result: SearchResult) -> Table:
    """One row per model or heuristic; the best model is marked."""
    metric = result.metric
    best = metric.best_of(row.score.value for row in result.rows if row.group != HEURISTIC)
    rows = (
        Row(
            cells=(row.name, score_cell(row, metric), *map(count, costs(row))),
            group=row.group,
            best=(1,) if row.group != HEURISTIC and row.score.value == best else (),
        )
        for row in result.rows
    )
    return Table(
        columns=("model", metric.label, "parameters", "FLOPs/token", "training tokens"),
        rows=tuple(rows),
        title=f"{result.task}, test split",
        short_columns=("model", metric.label, "params", "FLOPs/token", "tokens seen"),
    )


def score_cell(row: ModelRow, metric: Metric) -> str:
    """The score with its margin: `63.0 ± 1.5 %`."""
    return metric.format(row.score.value, row.score.margin, unit=False)


def costs(row: ModelRow) -> tuple[float | None, float | None, float | None]:
    """Parameters, FLOPs per token and training tokens; None for a heuristic."""
    return row.parameters, row.flops_per_token, row.train_tokens
