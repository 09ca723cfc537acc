"""The page, the card and the table of a result. Reads run folders and numbers; knows no tensors and trains nothing."""

from manticore.report.model_card import model_card
from manticore.report.run.page import write_run_report
from manticore.report.run.table import as_markdown, comparison
from manticore.report.study.page import write_study_report
from manticore.report.study.standings import overview_markdown, standings, standings_markdown

__all__ = [
    "as_markdown",
    "comparison",
    "model_card",
    "overview_markdown",
    "standings",
    "standings_markdown",
    "write_run_report",
    "write_study_report",
]
