"""The page, the card and the table of a result. Reads run folders and numbers; knows no tensors and trains nothing."""

from manticore.report.card import model_card
from manticore.report.page import write_report
from manticore.report.table import as_markdown, comparison

__all__ = ["as_markdown", "comparison", "model_card", "write_report"]
