"""What a launcher is, and the registry of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from manticore.config.launching import LaunchOptions
from manticore.errors import ManticoreError
from manticore.studies.pool import Executor
from manticore.studies.workers import Launcher, WorkerPool
from manticore.utils.registry import Registry


@dataclass(frozen=True)
class Crew:
    """The processes that run jobs. As a context it ends them.

    Attributes:
        executor: runs jobs in them.
        workers: their number.
        is_local: whether they run on this machine and share its cores.
    """

    executor: Executor
    workers: int
    is_local: bool = False
    _stack: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


launchers: Registry[Callable[[LaunchOptions, Path], Crew]] = Registry("launcher")
"""Functions from the options and a folder for files, which all workers can read, to the processes."""


def start_crew(options: LaunchOptions, out: Path) -> Crew:
    """The processes of a command that writes to the folder `out`. Workers of a cluster start when they are needed.

    Raises UnknownName for a launcher that is not known, and ManticoreError for one that cannot be used.
    """
    return launchers[options.launcher](options, out / "workers")


def crew_of(launcher: Launcher, options: LaunchOptions, folder: Path) -> Crew:
    """The workers that a launcher starts when they are first needed."""
    stack = ExitStack()
    with ExitStack() as on_error:
        on_error.callback(launcher.close)
        workers = launcher.default_workers() if options.workers == "auto" else options.workers
        on_error.pop_all()
    pool = stack.enter_context(closing(WorkerPool(launcher, workers, folder)))
    return Crew(pool, workers, _stack=stack)


def check_package(package: str, extra: str) -> None:
    """Raises ManticoreError if a package is not installed; the message has the pip command with the extra."""
    if find_spec(package) is None:
        raise ManticoreError(
            f"--launcher {package} needs {package}, which is not installed: pip install 'manticore-hybrids[{extra}]'"
        )


def check_settings(values: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]], launcher: str) -> None:
    """Raises ManticoreError for a setting of a launcher that is not known, or not of its type."""
    for key, value in values.items():
        if key not in kinds:
            known = ", ".join(kinds)
            raise ManticoreError(f"--launcher-set {key}: launcher {launcher} has no such setting; it has {known}")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise ManticoreError(f"--launcher-set {key}={value}: not a value of this setting")
