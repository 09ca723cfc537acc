"""The lock of a run's folder: one process writes it at a time. The operating system releases it when a process dies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import BaseFileLock, FileLock, Timeout

from manticore.errors import ManticoreError
from manticore.experiment.run_dir import LOCK
from manticore.utils.failures import writing
from manticore.utils.io import folder_identity, run_folders


class RunLock:
    """A context in which no other process may write a folder, once `acquire` has been called.

    On file systems without locks there is none.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> RunLock:
        return self

    def acquire(self, create: bool = True) -> None:
        """Lock the folder until the context ends; a second call has no effect.

        Args:
            create: create a folder that does not exist; False: there is nothing to lock then.

        Raises ManticoreError if another process has locked it, and CannotWrite.
        """
        if self._lock is not None or not (create or self.folder.is_dir()):
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            try:
                lock.acquire(timeout=0.2, poll_interval=0.02)  # `is_locked` takes it for a moment
            except Timeout:
                raise ManticoreError(
                    f"{self.folder} is in use by a run that has not ended; wait for it, or choose another --out"
                ) from None
            except NotImplementedError:
                return
        self._lock = lock
        if (identity := folder_identity(self.folder)) is not None:
            run_folders[self.folder] = identity

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_folders.pop(self.folder, None)
        if self._lock is not None:
            with suppress(OSError):  # a disk that is full or read-only, which the error before names
                (self.folder / LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
