"""Workers are jobs that submitit submits to SLURM, or, where there is no SLURM, starts on this machine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from manticore.config.launching import LaunchOptions
from manticore.errors import ManticoreError
from manticore.studies.launchers.base import Crew, check_package, crew_of, launchers
from manticore.studies.workers import Ending, Launcher

TIMEOUT_MINUTES = 1440
"""Default time limit of a worker."""

RESULT_SECONDS = 3
"""Seconds in which a shared file system must show the result of a job that has ended."""


@launchers.register("submitit")
def slurm_jobs(options: LaunchOptions, folder: Path) -> Crew:
    """Jobs of SLURM, with the parameters of `submitit.AutoExecutor` as settings, and `cluster=local` for a trial."""
    check_package("submitit", "slurm")
    if options.workers == "auto":
        raise ManticoreError("--launcher submitit needs the number of jobs, as in --workers 8; auto is not known")
    return crew_of(SubmititLauncher(**options.values), options, folder)


class SubmititLauncher(Launcher):
    """Starts workers as jobs of submitit.

    Args:
        cluster: `slurm` or `local`. Default: SLURM where the command sbatch exists.
        parameters: of `AutoExecutor.update_parameters`.

    Raises ManticoreError for parameters that do not exist, or have other types.
    """

    def __init__(self, cluster: str | None = None, **parameters: Any) -> None:
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self.cluster = cluster
        self.parameters = {"name": "manticore", "timeout_min": TIMEOUT_MINUTES, **parameters}
        self._executor: Any = None
        with TemporaryDirectory() as folder:
            self._open(Path(folder))

    def _open(self, folder: Path) -> Any:
        import submitit

        try:
            with warnings.catch_warnings(action="ignore"):  # that `partition` is called `slurm_partition` now
                executor = submitit.AutoExecutor(folder, self.cluster)
                executor.update_parameters(**self.parameters)
            return executor
        except (NameError, ValueError, TypeError, AssertionError, RuntimeError) as error:
            raise ManticoreError(f"--launcher submitit: {str(error).strip().splitlines()[0]}") from error

    def default_workers(self) -> int:
        """Unknown. Raises ManticoreError."""
        raise ManticoreError("--launcher submitit needs a number of workers")

    def close(self) -> None:
        """There is nothing to leave."""

    def start(self, work: Callable[[], str], folder: Path) -> SubmititWorker:
        """Submit `work`; scripts and logs are in `folder/submitit`. Raises ManticoreError if SLURM refuses it."""
        if self._executor is None:
            self._executor = self._open(folder / "submitit")
        try:
            return SubmititWorker(self._executor.submit(Requeued(work)))
        except Exception as error:  # of sbatch
            raise ManticoreError(f"--launcher submitit: {str(error).strip().splitlines()[-1][:200]}", 1) from error


class Requeued:
    """A worker that submitit puts into the queue again when SLURM preempts it or its time is over."""

    def __init__(self, work: Callable[[], str]) -> None:
        self.work = work

    def __call__(self) -> str:
        return self.work()

    def checkpoint(self) -> Any:
        """What to submit in place of this object."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SubmititWorker:
    """A job that runs a worker."""

    def __init__(self, job: Any) -> None:
        self.job = job
        job._results_timeout_s = RESULT_SECONDS

    def ending(self) -> Ending | None:
        """See `Worker`."""
        if not self.job.done():
            return None
        failure = self.job.exception()
        if failure is None:
            return Ending(error=self.job.result())
        lines = [line for line in str(failure).splitlines() if line.strip(" -") and "full logs" not in line]
        return Ending(f"job {self.job.job_id}, {self.job.state}: {lines[0][:200]}")

    def stop(self) -> None:
        """See `Worker`."""
        self.job.cancel(check=False)
