"""The time that running a job costs besides the job: 1,000 jobs that do nothing, with two workers.

    python benchmarks/job_overhead.py [--launcher local] [--jobs 1000] [--workers 2] [--launcher-set KEY=VALUE]

Prints one line of JSON: the seconds from the first worker's start to the end of the last, the milliseconds of that for
each job, the same without the start of the workers, whose imports take most of it, and the milliseconds of CPU time of
all processes, which do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from manticore.config.launching import LaunchOptions
from manticore.studies.launchers import start_crew
from manticore.studies.pool import JobProgress, run_all
from manticore.studies.store import JobStore
from manticore.utils.devices import gpu_of_worker


def nothing(job: dict[str, Any]) -> dict[str, Any]:
    """A result that takes no time."""
    return {"score": {"accuracy": 0.5}, "number": job["number"]}


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(options: LaunchOptions, count: int) -> dict[str, Any]:
    """Seconds and milliseconds a job."""
    # As large as a trial: its recipe is some kilobytes of JSON.
    recipe = {f"section{part}": {f"key{index}": index for index in range(20)} for part in range(8)}
    jobs = [{"number": number, "recipe": recipe} for number in range(count)]
    moments: list[float] = []

    def note(progress: JobProgress) -> None:
        moments.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        gpu_of_worker(0)  # it imports torch, as every command has done long before
        started, cpu = time.monotonic(), cpu_seconds()
        with start_crew(options, Path(folder)) as crew:
            outcome = run_all(jobs, nothing, JobStore(Path(folder) / "trials"), crew.executor, note)
        seconds = time.monotonic() - started
    assert [result["number"] for result in outcome.results] == list(range(count))
    return {
        "launcher": options.launcher,
        "workers": crew.workers,
        "jobs": count,
        "seconds": round(seconds, 2),
        "ms_per_job": round(1000 * seconds / count, 2),
        "ms_per_job_after_start": round(1000 * (moments[-1] - moments[0]) / max(1, count - 1), 2),
        "cpu_ms_per_job": round(1000 * (cpu_seconds() - cpu) / count, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launcher", default="local")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--launcher-set", action="append", default=[])
    given = parser.parse_args()
    print(json.dumps(measure(LaunchOptions(given.workers, given.launcher, tuple(given.launcher_set)), given.jobs)))
