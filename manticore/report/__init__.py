"""How results are shown: pages, model cards, tables and sentences. Reads results and run folders; trains nothing."""

from manticore.report.model_card import search_card
from manticore.report.run.page import write_run_report
from manticore.report.run.tables import comparison_table
from manticore.report.study.page import write_study_report
from manticore.report.study.tables import overview_table, task_table
from manticore.report.table import Row, Table
from manticore.report.transfer.page import write_transfer_report

__all__ = [
    "Row",
    "Table",
    "comparison_table",
    "overview_table",
    "search_card",
    "task_table",
    "write_run_report",
    "write_study_report",
    "write_transfer_report",
]
