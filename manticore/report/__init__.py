"""The page, the card and the table of a result. Reads run folders and numbers; knows no tensors and trains nothing."""

from manticore.report.card import model_card
from manticore.report.contest import write_contest
from manticore.report.page import write_report
from manticore.report.standings import overview_markdown, standings, standings_markdown
from manticore.report.table import as_markdown, comparison

__all__ = [
    "as_markdown",
    "comparison",
    "model_card",
    "overview_markdown",
    "standings",
    "standings_markdown",
    "write_contest",
    "write_report",
]
