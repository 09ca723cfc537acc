"""The comparison table of a search: the score and the cost of every model on the test split."""

from __future__ import annotations

from manticore.report.table import HEURISTIC, Row, Table
from manticore.results.search import ModelRow, SearchResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import DASH, count
from manticore.utils.statistics import Interval


def comparison_table(result: SearchResult, leads: bool = False) -> Table:
    """One row per model or heuristic; the best model is marked.

    Args:
        result: the result of a search.
        leads: whether to add how much better or worse the hybrid is than each row, where that was measured.
    """
    metric = result.metric
    leads = leads and any(row.lead is not None for row in result.rows)
    best = metric.best_of(row.score.value for row in result.rows if row.group != HEURISTIC)
    rows = (
        Row(
            cells=(
                row.name,
                score_cell(row, metric),
                *([lead_cell(row, metric)] if leads else []),
                *map(count, costs(row)),
            ),
            group=row.group,
            best=(1,) if row.group != HEURISTIC and row.score.value == best else (),
        )
        for row in result.rows
    )
    return Table(
        columns=(
            "model",
            metric.label,
            *(["the hybrid is"] if leads else []),
            "parameters",
            "FLOPs/token",
            "training tokens",
        ),
        rows=tuple(rows),
        title=f"{result.task}, test split",
        short_columns=() if leads else ("model", metric.label, "params", "FLOPs/token", "tokens seen"),
    )


def lead_table(result: SearchResult) -> Table | None:
    """How much better or worse the hybrid is than each row, on the same examples; None if no lead was measured."""
    rows = [row for row in result.rows if row.lead is not None]
    if not rows:
        return None
    metric, best = result.metric, result.best("component")
    cells = (Row((row.name, lead_cell(row, metric)), row.group, emphasized=row == best) for row in rows)
    columns = ("compared with", f"the hybrid is ({metric.unit})")
    return Table(columns, tuple(cells), f"paired over the same {lead_units(rows[0], metric)}, 95% intervals")


def lead_cell(row: ModelRow, metric: Metric) -> str:
    """How much better or worse the hybrid is than a row: `worse by 0.079 ± 0.022`; a dash where there is no lead."""
    return DASH if row.lead is None else metric.format_lead(row.lead.mean, row.lead.margin, unit=False)


def lead_units(row: ModelRow, metric: Metric) -> str:
    """What a lead is paired over: `16 documents`, `4,000 examples`."""
    number = 0 if row.lead is None else row.lead.count
    noun = "document" if metric.for_text else "example"
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verdict(lead: Interval | None) -> str:
    """`better` or `worse` where the interval of a lead excludes zero; else `unclear`, and empty without a lead."""
    if lead is None or not lead.excludes_zero:
        return "" if lead is None else "unclear"
    return "better" if lead.mean > 0 else "worse"


def score_cell(row: ModelRow, metric: Metric) -> str:
    """The score with its margin: `63.0 ± 1.5 %`."""
    return metric.format(row.score.value, row.score.margin, unit=False)


def costs(row: ModelRow) -> tuple[float | None, float | None, float | None]:
    """Parameters, FLOPs per token and training tokens; None for a heuristic."""
    return row.parameters, row.flops_per_token, row.train_tokens
