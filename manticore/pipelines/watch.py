"""`manticore report --watch`: serve the page of a run or a study to this machine, and follow it."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from manticore.config.model_commands import ReportCommand
from manticore.experiment.run_dir import LOCK, RunDir
from manticore.pipelines import report
from manticore.report.live import render_unfinished_run, render_unfinished_study
from manticore.results.search import SearchResult
from manticore.results.study import StudyResult
from manticore.results.transfer import TransferResult
from manticore.studies.scheduler import describe_trial, format_score
from manticore.studies.store import JobStore
from manticore.studies.trial import Trial
from manticore.utils.locks import is_locked
from manticore.utils.page_server import PageServer
from manticore.utils.text_files import read_text

PORT = 8642

RESULTS = (SearchResult.FILE, StudyResult.FILE, TransferResult.FILE)


def run(options: ReportCommand, write: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        options: of the command.
        write: called with the address, as one line.

    Raises ManticoreError if the folder has no page, or if the port is in use.
    """
    page(options.folder)
    with PageServer(PORT if options.port is None else options.port, lambda: page(options.folder)) as server:
        write(f"{server.address} shows {options.folder} and follows it; Ctrl-C ends\n")
        if options.open:
            webbrowser.open(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.1)


def page(folder: Path) -> str:
    """The page of a folder: the report if the command is complete, and what is known so far if it is not.

    Raises ManticoreError if the folder has no page.
    """
    running = is_locked(folder / LOCK)  # before the result is looked for, which a run may write at this moment
    trials = folder / "trials"
    if any((folder / name).exists() for name in RESULTS) or not (RunDir(folder).recipe.exists() or trials.is_dir()):
        return _finished_page(folder)
    if trials.is_dir():
        return _unfinished_study(folder, JobStore(trials))
    killed = (folder / LOCK).exists()
    return render_unfinished_run(folder, "running" if running else "killed" if killed else "stopped")


def _finished_page(folder: Path) -> str:
    """The report, written if there is none or an old one. Raises ManticoreError if the folder has none."""
    file = RunDir(folder).report
    results = [path for name in RESULTS if (path := folder / name).exists()]
    if not file.exists() or any(path.stat().st_mtime > file.stat().st_mtime for path in results):
        file = report.run(folder)
    return read_text(file)


def _unfinished_study(folder: Path, store: JobStore) -> str:
    trials = [(*_trial_cells(dict(job)), format_score(result["score"])) for job, result in store.finished()]
    return render_unfinished_study(folder, trials, store.count_running(), store.count_failures())


def _trial_cells(trial: Trial) -> list[str]:
    """Task, model, seed, learning rate and split of a trial."""
    return [text.removeprefix("seed ").removeprefix("rate ") for text in describe_trial(trial).split(" · ")]
