"""`manticore report`: write the page of a search, a comparison, a transfer or a benchmark of strategies again."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from manticore.config.model_commands import ReportCommand
from manticore.errors import ManticoreError
from manticore.experiment.run_dir import finished_run
from manticore.export.own_task import FINETUNING
from manticore.pipelines.analyze import analyze
from manticore.pipelines.pretrain import OPTIONS_FILE as PRETRAINING
from manticore.report.finetune_page import has_page, write_finetune_report
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import read_run
from manticore.report.strategy_page import write_strategy_report
from manticore.report.study.page import write_study_report
from manticore.report.transfer.page import write_transfer_report
from manticore.results.strategies import StrategyBench
from manticore.results.study import StudyResult
from manticore.results.transfer import TransferResult

STUDIES = {
    StudyResult.FILE: write_study_report,
    TransferResult.FILE: write_transfer_report,
    StrategyBench.FILE: write_strategy_report,
}


def run_command(options: ReportCommand, console: Console) -> Path:
    """Analyze the hybrid if the options say so, and write the page. Raises as `run` and `analyze` do."""
    if options.analyze:
        studies = [file for file in STUDIES if (options.folder / file).exists()]
        if studies:
            raise ManticoreError(f"{options.folder} has several hybrids ({studies[0]}); --analyze takes a run folder")
        analyze(options.folder, console, options.trust_code)
    return run(options.folder)


def run(folder: Path) -> Path:
    """Write the page of a finished command and return its path.

    Raises ManticoreError if the folder is not that of a search, a comparison or a transfer, or if it is not finished.
    """
    for file, write in STUDIES.items():
        if (folder / file).exists():
            return write(folder)
    if (folder / FINETUNING).exists():
        if has_page(folder):
            return write_finetune_report(folder)
        raise ManticoreError(
            f"{folder} is the folder of a fine-tuning, which has no page: its scores are in {folder / 'scores.json'}, "
            f"and manticore evaluate {folder} scores it on the test split; --analyze measures its changes, for a page"
        )
    if (folder / PRETRAINING).exists():
        raise ManticoreError(
            f"{folder} is the folder of a pretraining, which has no page: its scores are in {folder / 'scores.json'} "
            f"and on the card {folder / 'model' / 'README.md'}"
        )
    if (folder / "config.json").exists():
        raise ManticoreError(
            f"{folder} is an exported model, which has no page: its card is {folder / 'README.md'}; "
            "report takes a run folder, or the --out of compare or transfer"
        )
    return write_run_report(read_run(finished_run(folder).root))
