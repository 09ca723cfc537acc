"""Results of jobs, stored by content: a finished job is never run again, by any process or machine.

A job is plain data; its key is a hash of that data. The store is a folder with one file for each result, failure and
claim, so any number of processes and machines may share it. Jobs are not interpreted here.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from filelock import BaseFileLock, FileLock, Timeout

from manticore.errors import BadFile, CannotWrite, ManticoreError
from manticore.utils.failures import writing
from manticore.utils.io import read_json, write_json
from manticore.utils.locks import is_locked

Job = Mapping[str, Any]
"""Plain data: text keys; text, numbers, booleans, None, lists and dictionaries as values."""

LOCATION = "location"
"""Key of a job under which it has the folders of its data. They may differ between machines, so this entry is not
hashed."""

JobFunction = Callable[[dict[str, Any]], Any]
"""Maps a job to its result, which is plain data too. With several workers it must be picklable."""

JobState = Literal["finished", "failed", "stored", "claimed"]
"""`finished` or `failed` now, `stored` by an earlier run, or `claimed` by another process."""

FORMAT = 1
GRACE_SECONDS = 60.0
"""Age at which a claim file without content counts as abandoned: its process died between creating and writing it."""


def key_of(job: Job) -> str:
    """32 hex digits that depend on the content of the job alone, not on the order of its keys and not on `LOCATION`.

    Raises ManticoreError if the job is not plain data.
    """
    _check_plain(job, "job")
    content = {key: value for key, value in job.items() if key != LOCATION}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class JobStore:
    """Results of jobs in a folder, which is created by the first write.

    A claim consists of a file, which other machines see, and of a lock on this machine, which the operating system
    releases if the process dies. A claim file of this machine without a lock is therefore abandoned and is replaced.
    Whether a claim of another machine is abandoned cannot be determined here: if it is, call `release`.

    Args:
        folder: the folder of the store.
        owner: `POOL-NUMBER`, a worker's name that is written into its claims. A pool removes the claims of its workers
            that have died, and counts them; other workers of the same pool leave them.
    """

    folder: Path
    owner: str = ""
    _locks: dict[str, BaseFileLock] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    def __reduce__(self) -> tuple[type[JobStore], tuple[Path, str]]:
        return JobStore, (self.folder, self.owner)  # locks belong to this process

    def path(self, job: Job, kind: str = "result") -> Path:
        """The file of a job's `result`, `failure` or `claim`."""
        return self.folder / f"{key_of(job)}.{kind}.json"

    def has(self, job: Job) -> bool:
        """Whether the job is finished."""
        return self.path(job).exists()

    def get(self, job: Job) -> Any:
        """The result of the job, or None if it is not finished. Raises BadFile if the file is damaged."""
        return self._read(job, "result") if self.has(job) else None

    def failure(self, job: Job) -> str | None:
        """The traceback of the job's last failure, or None. Raises BadFile if the file is damaged."""
        return str(self._read(job, "failure")) if self.path(job, "failure").exists() else None

    def finished(self) -> list[tuple[Job, Any]]:
        """All finished jobs with their results, in the order in which they ended; files being written are left out."""
        files = sorted(self.folder.glob("*.result.json"), key=lambda file: file.stat().st_mtime)
        records = [read_json(file) for file in files]
        return [(record["job"], record["result"]) for record in records if record.get("format") == FORMAT]

    def count_running(self) -> int:
        """The number of jobs that a living process of this machine has claimed, or any process of another one."""
        return sum(self._is_running(file) for file in self.folder.glob("*.claim.json"))

    def count_failures(self) -> int:
        """The number of jobs that failed and have not been finished since."""
        return len(list(self.folder.glob("*.failure.json")))

    def forget_failure(self, job: Job) -> None:
        """Remove the stored failure, so that the job is tried again."""
        self.path(job, "failure").unlink(missing_ok=True)

    def owner_of(self, job: Job) -> str | None:
        """The name in the claim of the job, empty if its process has none; None without a claim."""
        claim = _read_claim(self.path(job, "claim"))
        return None if claim is None else str(claim.get("owner", ""))

    def claim(self, job: Job) -> bool:
        """Claim the job; False if it is finished or claimed by another process.

        A failed job can be claimed again. The caller ends its claim by `finish`, `fail` or `release`.
        """
        if self.has(job):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(job)
        if lock is None:
            return False
        created = self._create(job) or (self._remove_abandoned(job) and self._create(job))
        if not created:
            lock.release()
            return False
        self._locks[key_of(job)] = lock
        if self.has(job):  # finished by another process between the first check and the claim
            self.release(job)
            return False
        return True

    def release(self, job: Job) -> None:
        """Remove the claim, whichever process made it."""
        self.path(job, "claim").unlink(missing_ok=True)
        lock = self._locks.pop(key_of(job), None)
        if lock is not None:
            if self.has(job):  # the next owner of the lock finds the result, so the lock file is obsolete
                self._lock_path(job).unlink(missing_ok=True)
            lock.release()

    def release_abandoned(self, job: Job) -> bool:
        """Remove the claim if its process ran on this machine and has died; returns whether that was the case."""
        lock = self._lock(job)
        if lock is None:
            return False
        try:
            return self._remove_abandoned(job)
        finally:
            lock.release()

    def finish(self, job: Job, result: Any) -> None:
        """Store the result atomically and end the claim. Raises ManticoreError if the result is not plain data."""
        _check_plain(result, "result of a job")
        self._write(job, "result", result)
        self.forget_failure(job)
        self.release(job)

    def fail(self, job: Job, error: BaseException | str) -> None:
        """Store the error and end the claim."""
        if isinstance(error, BaseException):
            error = "".join(traceback.format_exception(error))
        self._write(job, "failure", error)
        self.release(job)

    def attempt(self, job: Job, work: JobFunction, known_failure: str | None = None) -> JobState:
        """Run the job unless it is finished or claimed.

        Args:
            job: the job.
            work: runs it. An Exception is stored as the job's failure; a full disk and an interrupt release the claim
                and are raised.
            known_failure: the failure that was stored before this run. A job with a newer one is not tried again.

        Returns the state of the job.
        """
        if not self.claim(job):
            return "stored" if self.has(job) else "claimed"
        if self.failure(job) not in (None, known_failure):
            self.release(job)
            return "failed"
        try:
            self.finish(job, work(dict(job)))
        except CannotWrite:
            self.release(job)
            raise
        except Exception as error:
            self.fail(job, error)
            return "failed"
        except BaseException:
            self.release(job)
            raise
        return "finished"

    def _write(self, job: Job, kind: str, value: Any) -> None:
        write_json(self.path(job, kind), {"format": FORMAT, "job": dict(job), kind: value})

    def _read(self, job: Job, kind: str) -> Any:
        path = self.path(job, kind)
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != FORMAT or kind not in record or "job" not in record:
            raise BadFile(path, f"not the {kind} of a job in format {FORMAT}")
        if not isinstance(record["job"], dict) or key_of(record["job"]) != key_of(job):
            raise BadFile(path, f"the {kind} of another job than its name says")
        return record[kind]

    def _lock_path(self, job: Job) -> Path:
        return self.folder / f"{key_of(job)}.lock"

    def _lock(self, job: Job) -> BaseFileLock | None:
        """The acquired lock of the job; None if a living process of this machine, such as this one, has it."""
        lock = FileLock(self._lock_path(job))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _is_running(self, file: Path) -> bool:
        claim = _read_claim(file)
        elsewhere = claim is not None and claim["host"] != socket.gethostname()
        return elsewhere or is_locked(self.folder / file.name.replace(".claim.json", ".lock"))

    def _create(self, job: Job) -> bool:
        """Create the claim file; only one process of all machines succeeds."""
        try:
            handle = os.open(self.path(job, "claim"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with writing(self.path(job, "claim")), os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"pid": os.getpid(), "host": socket.gethostname(), "owner": self.owner}, file)
        except CannotWrite:
            self.path(job, "claim").unlink(missing_ok=True)
            raise
        return True

    def _remove_abandoned(self, job: Job) -> bool:
        """Remove the claim file if it is of this machine. The caller has the lock, so its process is dead."""
        path = self.path(job, "claim")
        claim = _read_claim(path)
        try:
            if claim is None:  # which machine is unknown until the file has content
                abandoned = time.time() - path.stat().st_mtime > GRACE_SECONDS
            else:
                pool = self.owner.rpartition("-")[0]
                is_of_pool = bool(pool) and str(claim.get("owner", "")).startswith(f"{pool}-")
                abandoned = claim["host"] == socket.gethostname() and not is_of_pool
            if abandoned:
                path.unlink()
        except FileNotFoundError:  # released by another machine just now
            return False
        return abandoned


def _read_claim(file: Path) -> dict[str, Any] | None:
    """The content of a claim file; None if there is no file or nothing is written yet."""
    try:
        claim = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return claim if isinstance(claim, dict) and isinstance(claim.get("pid"), int) and "host" in claim else None


_ATOMS = frozenset({str, int, bool, type(None)})


def _check_plain(value: object, what: str) -> None:
    """Raise ManticoreError unless `value` survives a round trip through JSON, tuples becoming lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ManticoreError(
                    f"a {what} has text keys, got {[key for key in value if not isinstance(key, str)]}."
                )
            if type(item) not in _ATOMS:  # jobs are checked often, and most values are atoms
                _check_plain(item, what)
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) not in _ATOMS:
                _check_plain(item, what)
    elif not (value is None or isinstance(value, str | int | float)):
        raise ManticoreError(f"a {what} is plain data, got a {type(value).__name__} in it.")
    elif what == "job" and isinstance(value, float) and not abs(value) < float("inf"):
        raise ManticoreError(f"a {what} has finite numbers, got {value}.")
