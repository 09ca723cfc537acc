"""Finished jobs by their content: what was done once, by whichever process or machine, is never done again.

A job is plain data, and its key a hash of it. The store is a folder with one file for a result, one for a failure and
one for a claim, so any number of processes may share it. Knows nothing of what a job means.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, ManticoreError
from manticore.studies.alive import file_lock, is_alive, start_time
from manticore.utils.io import read_json, write_json

Job = Mapping[str, Any]
"""Plain data: text keys; text, numbers, booleans, None, lists and the like as values."""

WHERE = "where"
"""A job's key for where its content lies, which may be elsewhere the next time."""

JobFunction = Callable[[dict[str, Any]], Any]
"""A job to its result, which is plain data too. For several workers a function at the top of a module."""

FORMAT = 1
SILENT = 60.0
"""Seconds after which a claim that does not say whose it is counts as left behind."""


def key_of(job: Job) -> str:
    """32 hex digits that depend on the job's content alone, not on the order of its keys nor on what is under `WHERE`.

    Raises ManticoreError if the job is not plain data.
    """
    _check_plain(job, "job")
    held = {key: value for key, value in job.items() if key != WHERE}
    text = json.dumps(held, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class JobStore:
    """Results of jobs in a folder, which is made when first written to.

    A claim is a file made by whoever gets there first. It names its process; if that ran on this machine and is dead,
    the claim is free again. Claims of other machines are never judged: `release` them by hand if one was lost.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    def path(self, job: Job, what: str = "result") -> Path:
        """The file of a job's `result`, `failure` or `claim`."""
        return self.folder / f"{key_of(job)}.{what}.json"

    def has(self, job: Job) -> bool:
        """Whether the job is finished."""
        return self.path(job).exists()

    def get(self, job: Job) -> Any:
        """The job's result, or None if it is not finished. Raises BadFile if the file is damaged."""
        return self._read(job, "result") if self.has(job) else None

    def failure(self, job: Job) -> str | None:
        """How the job went wrong the last time, or None. Raises BadFile if the file is damaged."""
        return str(self._read(job, "failure")) if self.path(job, "failure").exists() else None

    def claim(self, job: Job) -> bool:
        """Take the job; False if it is finished or another living process has it.

        A failed job can be claimed again. Whoever has claimed calls `finish`, `fail` or `release`.
        """
        if self.has(job):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = self._create(job) or (self.free(job) and self._create(job))
        if taken and self.has(job):  # finished by another between the look and the claim
            self.release(job)
            return False
        return taken

    def release(self, job: Job) -> None:
        """Give up the claim, whosever it is."""
        self.path(job, "claim").unlink(missing_ok=True)

    def free(self, job: Job) -> bool:
        """Give up the claim if whoever made it is known to be dead; whether that was so."""
        if not self._abandoned(job):
            return False
        with file_lock(self.folder / ".free") as mine:
            if not mine or not self._abandoned(job):
                return False
            self.release(job)
            return True

    def finish(self, job: Job, result: Any) -> None:
        """Keep the result, whole or not at all, and give up the claim. Raises ManticoreError if it is no plain data."""
        _check_plain(result, "result of a job")
        self._write(job, "result", result)
        self.path(job, "failure").unlink(missing_ok=True)
        self.release(job)

    def fail(self, job: Job, error: BaseException | str) -> None:
        """Keep what went wrong and give up the claim."""
        if isinstance(error, BaseException):
            error = "".join(traceback.format_exception(error))
        self._write(job, "failure", error)
        self.release(job)

    def attempt(self, job: Job, work: JobFunction, seen: str | None = None) -> str:
        """Do the job unless that is settled: `finished` or `failed` now, `kept` from before, or `held` by another.

        Args:
            job: what to do.
            work: does it. An Exception is kept as the job's failure; anything else gives up the claim and is raised.
            seen: the failure known beforehand. One that came after it is not tried again: `failed`.
        """
        if not self.claim(job):
            return "kept" if self.has(job) else "held"
        if self.failure(job) not in (None, seen):
            self.release(job)
            return "failed"
        try:
            self.finish(job, work(dict(job)))
        except Exception as error:
            self.fail(job, error)
            return "failed"
        except BaseException:
            self.release(job)
            raise
        return "finished"

    def holder(self, job: Job) -> str:
        """Who has claimed the job, for a reader: `process 12 on host`, or nothing."""
        held = self._claimant(job)
        return f"process {held['pid']} on {held['host']}" if held else ""

    def _write(self, job: Job, what: str, value: Any) -> None:
        write_json(self.path(job, what), {"format": FORMAT, "job": dict(job), what: value})

    def _read(self, job: Job, what: str) -> Any:
        path = self.path(job, what)
        held = read_json(path)
        if not isinstance(held, dict) or held.get("format") != FORMAT or what not in held or "job" not in held:
            raise BadFile(path, f"not the {what} of a job in format {FORMAT}")
        if not isinstance(held["job"], dict) or key_of(held["job"]) != key_of(job):
            raise BadFile(path, f"the {what} of another job than its name says")
        return held[what]

    def _create(self, job: Job) -> bool:
        """Make the claim's file, which only one process can."""
        try:
            handle = os.open(self.path(job, "claim"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        pid = os.getpid()
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"pid": pid, "host": socket.gethostname(), "born": start_time(pid)}, file)
        return True

    def _abandoned(self, job: Job) -> bool:
        held = self._claimant(job)
        if held is not None:
            return held["host"] == socket.gethostname() and not is_alive(held["pid"], held.get("born"))
        try:
            return time.time() - self.path(job, "claim").stat().st_mtime > SILENT
        except FileNotFoundError:
            return False  # given up just now; the next look will find it free or finished

    def _claimant(self, job: Job) -> dict[str, Any] | None:
        """Who has claimed; None where nobody has, or nothing is written yet."""
        try:
            held = json.loads(self.path(job, "claim").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return held if isinstance(held, dict) and isinstance(held.get("pid"), int) and "host" in held else None


def _check_plain(value: object, what: str) -> None:
    """Raises ManticoreError unless `value` comes back from JSON as it was, tuples as lists."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ManticoreError(f"a {what} has text keys, got {[key for key in value if not isinstance(key, str)]}.")
        for held in value.values():
            _check_plain(held, what)
    elif isinstance(value, list | tuple):
        for held in value:
            _check_plain(held, what)
    elif not (value is None or isinstance(value, str | int | float)):
        raise ManticoreError(f"a {what} is plain data, got a {type(value).__name__} in it.")
    elif what == "job" and isinstance(value, float) and not abs(value) < float("inf"):
        raise ManticoreError(f"a {what} holds finite numbers, got {value}.")
