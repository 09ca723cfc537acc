"""A disk that fails in the middle of a command: full, read-only, gone, or with a limit on the size of files.

The failures are those of the operating system, raised by an audit hook of Python at one of the command's writes and at
every later one, and a limit on the size of files (RLIMIT_FSIZE), which holds for writes of all libraries.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability.kills import KEYS, TASK, differences
from manticore.cli import main

FAILURES = {"full disk": errno.ENOSPC, "read-only disk": errno.EROFS}
GONE, LIMIT = "folder that is gone", "limit on the size of files"
KINDS = (*FAILURES, GONE, LIMIT)
NAMES = ("search", "compare")
EVENTS = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.remove": 0}
"""Events of Python's audit hook, with the index of the path that is written."""

PART = re.compile(r"\.(?P<name>[^/]+)\.[a-z0-9_]{8}\.part")
VARIABLE = re.compile(r"events\.out\.tfevents.*")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, its error output, and its writes below its folder, in order."""

    status: int
    error: str
    writes: tuple[str, ...]


class Disk:
    """The audit hook of a process: notes writes below a folder, and lets them fail from one of them on.

    Args:
        folder: the folder.
        kind: what fails; None: nothing.
        first: number of the first write that fails.
    """

    def __init__(self, folder: Path, kind: str | None, first: int) -> None:
        self.folder, self.kind, self.first = str(folder), kind, first
        self.writes: list[str] = []
        self.busy = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.busy or event not in EVENTS:
            return
        path = arguments[EVENTS[event]]
        flags = arguments[2] if event == "open" else os.O_WRONLY
        if not isinstance(path, str | os.PathLike) or not isinstance(flags, int):
            return
        if not flags & (os.O_WRONLY | os.O_RDWR) or not os.fspath(path).startswith(f"{self.folder}/"):
            return
        self.busy = True
        try:
            self._write(event, os.fspath(path))
        finally:
            self.busy = False

    def _write(self, event: str, path: str) -> None:
        name = VARIABLE.sub("events", PART.sub(r"\g<name>", path.removeprefix(f"{self.folder}/")))
        self.writes.append(f"{event} {name}")
        if self.kind is None or len(self.writes) <= self.first or name == ".lock":
            return
        if self.kind == GONE:
            if len(self.writes) == self.first + 1:
                os.rename(self.folder, f"{self.folder}.gone")
            return
        number = FAILURES[self.kind]
        raise OSError(number, os.strerror(number), path)


def run(words: list[str], folder: Path, kind: str | None = None, first: int = 0) -> Ended:
    """Run a command in a fork on a disk that fails.

    Args:
        words: the command.
        folder: the folder that it writes.
        kind: one of `KINDS`; None: nothing fails.
        first: number of the first write that fails, or the largest size of a file in bytes for `LIMIT`.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    error = folder.with_name("error.txt")

    def work() -> None:
        os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        if kind == LIMIT:
            resource.setrlimit(resource.RLIMIT_FSIZE, (first, first))
        disk = Disk(folder, None if kind == LIMIT else kind, first)
        try:
            status = main(words)
        except BaseException as fault:
            status = -1
            print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        disk.busy = True
        sys.stderr.flush()
        writer.send((status, tuple(disk.writes)))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    writer.close()
    try:
        status, writes = reader.recv()
    except EOFError:
        status, writes = -2, ()
    process.join()
    return Ended(status, error.read_text(), writes)


def places(writes: tuple[str, ...]) -> dict[str, int]:
    """The kinds of writes of a command, each with the number of one of them: the middle one."""
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(writes):
        numbers.setdefault(name, []).append(number)
    return {name: found[len(found) // 2] for name, found in numbers.items() if name != "open .lock"}


@dataclass(frozen=True)
class Command:
    """A command that can be resumed.

    Attributes:
        words: the command line, with `{out}`.
        different: what differs in a resumed folder from another one.
    """

    words: tuple[str, ...]
    different: Callable[[Path, Path], list[str]]

    def line(self, out: Path, resume: bool) -> list[str]:
        """The words, with `--resume` for a search; a comparison goes on without it."""
        flags = ["--resume"] if resume and self.words[0] == "search" else []
        return [*(word.replace("{out}", str(out)) for word in self.words), *flags]


def study_differences(resumed: Path, reference: Path) -> list[str]:
    """What differs in the tables of two comparisons, but for times, and which claims and parts are left."""
    from manticore.results.study import StudyResult

    results = [re.sub(r"seconds=[^,)]*", "", repr(StudyResult.load(folder))) for folder in (resumed, reference)]
    found = [] if results[0] == results[1] else ["the results"]
    return found + [
        f"{file.name} is left" for file in resumed.rglob("*") if file.name.endswith((".claim.json", ".part", ".ckpt"))
    ]


def commands(folder: Path) -> dict[str, Command]:
    """The commands, with their recipe in `folder`."""
    space = {"components": ["gpt-neo", "mamba"], "stages": 2}
    study = {"seeds": 1, "learning_rates": [0.001], "lr_search_seeds": 1}
    recipe = {"task": TASK, "space": space, **KEYS, "study": study}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    return {
        "search": Command(("search", "--config", str(file), "--out", "{out}"), differences),
        "compare": Command(("compare", "--config", str(file), "--out", "{out}"), study_differences),
    }


def measure(
    folder: Path, count: int, number: int = 0, names: tuple[str, ...] = ("search", "compare")
) -> dict[str, Any]:
    """Run commands on failing disks in `folder`, `count` times, over their writes and kinds of failures at random.

    Returns the numbers of `failures` and of `places` where the commands write, and the `different` outcomes.
    """
    rng = random.Random(number)
    folder.mkdir(parents=True, exist_ok=True)
    cases, references = [], {}
    for name in names:
        command = commands(folder)[name]
        reference = folder / f"{name}-reference"
        ended = run(command.line(reference, False), reference)
        if ended.status:
            raise SystemExit(f"{name} fails without a failure of the disk: {ended.error}")
        references[name] = reference
        found = places(ended.writes)
        cases += [(name, kind, place, at) for place, at in found.items() for kind in KINDS if kind != LIMIT]
        cases += [(name, LIMIT, f"{size} bytes", size) for size in (100, 1_000, 4_000, 20_000, 50_000, 100_000)]
    rng.shuffle(cases)
    faults = []
    for index, (name, kind, place, first) in enumerate(cases[:count]):
        out = folder / f"{name}-{index}"
        command = commands(folder)[name]
        ended = run(command.line(out, False), out, kind, first)
        problems = _problems(ended, kind)
        gone = out.with_name(f"{out.name}.gone")
        if gone.exists():
            if out.exists():
                left = [str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()]
                problems += [f"was made anew with {', '.join(left[:3])}"] if left else []
                shutil.rmtree(out)
            gone.rename(out)
        if ended.status != 0:
            again = run(command.line(out, out.exists() and any(out.iterdir())), out)
            problems += [f"status {again.status} when it is resumed: {again.error[-200:]}"] if again.status else []
        if not problems:
            problems += command.different(out, references[name])
        faults += [f"{name}, {kind} at {place}: {problem}" for problem in problems]
        shutil.rmtree(out, ignore_errors=True)
    return {"failures": min(count, len(cases)), "places": len(cases), "different": faults}


def _problems(ended: Ended, kind: str) -> list[str]:
    lines = [line for line in ended.error.splitlines() if "manticore: error:" in line]
    if ended.status == 0:
        return []  # the last writes of a command, or a file that it can do without, such as a cache
    problems = [] if ended.status == 1 else [f"status {ended.status}: {ended.error[-300:]}"]
    if len(lines) != 1 or "Traceback" in ended.error:
        problems.append(f"not one line: {ended.error[-300:]}")
    return problems
