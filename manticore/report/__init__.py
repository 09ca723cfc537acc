"""How results are shown: pages, model cards, tables and sentences. Reads results and run folders; trains nothing.

The package is callable: `manticore.report(...)` is `manticore.api.run_verbs.report`.
"""

from manticore.report.model_card import search_card
from manticore.report.run.page import write_run_report
from manticore.report.run.tables import comparison_table
from manticore.report.study.page import write_study_report
from manticore.report.study.tables import overview_table, task_table
from manticore.report.table import Row, Table
from manticore.report.transfer.page import write_transfer_report
from manticore.utils.lazy import make_callable

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

make_callable(__name__, "manticore.api.run_verbs.report")
