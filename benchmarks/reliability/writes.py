"""A disk that fails in the middle of a command: full, read-only, gone, or with a limit on the size of files.

The failures are those of the operating system, raised by an audit hook of Python at one of the command's writes and at
every later one, and a limit on the size of files (RLIMIT_FSIZE), which holds for writes of all libraries.
"""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability.kills import KEYS, TASK, differences
from manticore.cli import main

FAILURES = {"full disk": errno.ENOSPC, "read-only disk": errno.EROFS}
GONE, LIMIT = "folder that is gone", "limit on the size of files"
KINDS = (*FAILURES, GONE, LIMIT)
NAMES = ("search", "compare", "finetune", "export", "align", "cache")
TEXT = "".join(f"Document {number} says: the old man and the sea, part {number}.\n\n" for number in range(60))
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


def run(words: list[str], folder: Path, kind: str | None = None, first: int = 0, cache: Path | None = None) -> Ended:
    """Run a command in a fork on a disk that fails.

    Args:
        words: the command.
        folder: the folder that it writes.
        kind: one of `KINDS`; None: nothing fails.
        first: number of the first write that fails, or the largest size of a file in bytes for `LIMIT`.
        cache: the folder for generated data. Default: that of this process.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    error = folder.with_name(f"{folder.name}.error")

    def work() -> None:
        os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        if cache is not None:
            os.environ["MANTICORE_CACHE"] = str(cache)
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
    """A command that can be resumed, or repeated.

    Attributes:
        words: the command line, with `{out}`.
        different: what differs in the folder of a resumed command from another one.
        disk: the folder on the disk that fails: that of the command, `out`; the one above it, `above`, for a command
            that writes its folder as a whole; or that of generated data, `cache`, which the command can do without.
    """

    words: tuple[str, ...]
    different: Callable[[Path, Path], list[str]]
    disk: str = "out"

    def failing(self, case: Path) -> Path:
        """The folder on the disk that fails."""
        return {"out": case / "out", "above": case, "cache": case / "cache"}[self.disk]

    def line(self, out: Path, resume: bool) -> list[str]:
        """The words, with `--resume` for a command that has this flag; others continue without it."""
        flags = ["--resume"] if resume and self.words[0] in ("search", "finetune") else []
        return [*(word.replace("{out}", str(out)) for word in self.words), *flags]

    def run(self, case: Path, kind: str | None = None, first: int = 0) -> Ended:
        """Run the command in a folder, where it is resumed if it has begun. See `run`."""
        out = case / "out"
        begun = out.exists() and any(out.iterdir())
        case.mkdir(parents=True, exist_ok=True)
        return run(
            self.line(out, begun), self.failing(case), kind, first, case / "cache" if self.disk == "cache" else None
        )


def study_differences(resumed: Path, reference: Path) -> list[str]:
    """What differs in the tables of two comparisons, but for times, and which claims and parts are left."""
    from manticore.results.study import StudyResult

    results = [re.sub(r"seconds=[^,)]*", "", repr(StudyResult.load(folder))) for folder in (resumed, reference)]
    found = [] if results[0] == results[1] else ["the results"]
    return found + [
        f"{file.name} is left" for file in resumed.rglob("*") if file.name.endswith((".claim.json", ".part", ".ckpt"))
    ]


def folder_differences(resumed: Path, reference: Path) -> list[str]:
    """What differs in the files of an exported checkpoint or a projector set."""
    folders = (resumed, reference)
    names = [sorted(str(file.relative_to(each)) for file in each.rglob("*") if file.is_file()) for each in folders]
    if names[0] != names[1]:
        return [f"{', '.join(names[0])} are there"]
    return [name for name in names[0] if (resumed / name).read_bytes() != (reference / name).read_bytes()]


def finetune_differences(resumed: Path, reference: Path) -> list[str]:
    """What differs in the hybrids of two fine-tunings and in their scores, and which parts are left."""
    from manticore.results.training import FinetuneScores

    scores = [FinetuneScores.load(folder) for folder in (resumed, reference)]
    found = folder_differences(resumed / "hybrid", reference / "hybrid") + (
        ["scores"] if scores[0] != scores[1] else []
    )
    return found + [f"{file.name} is left" for file in resumed.rglob("*") if file.name.endswith((".part", ".ckpt"))]


def write_run(folder: Path) -> None:
    """Write what commands read: a finished search, two models and a text."""
    from benchmarks.reliability.kills import search
    from benchmarks.reliability.valid_inputs import write_models

    write_models(folder / "models")
    (folder / "text.txt").write_text(TEXT)
    search(folder / "run")


def commands(folder: Path) -> dict[str, Command]:
    """The commands, with their recipe in `folder`."""
    space = {"components": ["gpt-neo", "mamba"], "stages": 2}
    study = {"seeds": 1, "learning_rates": [0.001], "lr_search_seeds": 1}
    recipe = {"task": TASK, "space": space, **KEYS, "study": study}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    search = ("search", "--config", str(file), "--out", "{out}")
    tuned = ("--steps", "6", "--batch-size", "8", "--set", "run.checkpoint_every=2", "--set", "run.device=cpu")
    models = f"{folder}/models/gpt2,{folder}/models/mamba"
    align = ("--models", models, "--text", f"{folder}/text.txt", "--stages", "2", "--length", "32", "--out", "{out}")
    return {
        "search": Command(search, differences),
        "compare": Command(("compare", "--config", str(file), "--out", "{out}"), study_differences),
        "finetune": Command(("finetune", f"{folder}/run", *tuned, "--out", "{out}"), finetune_differences),
        "export": Command(("export", f"{folder}/run", "--out", "{out}"), folder_differences, "above"),
        "align": Command(("align", *align), folder_differences, "above"),
        "cache": Command(search, differences, "cache"),
    }


def measure(
    folder: Path, count: int, number: int = 0, names: tuple[str, ...] = NAMES, until: float = math.inf
) -> dict[str, Any]:
    """Run commands on failing disks in `folder`, `count` times, over their writes and kinds of failures at random.

    After the time `until` no failure is begun.

    Returns the numbers of `failures` and of `places` where the commands write, and the `different` outcomes.
    """
    rng = random.Random(number)
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    write_run(folder)
    for name in names:
        ended = commands(folder)[name].run(folder / f"{name}-reference")
        if ended.status:
            raise SystemExit(f"{name} fails without a failure of the disk: {ended.error}")
        found = places(ended.writes)
        cases += [(name, kind, place, at) for place, at in found.items() for kind in KINDS if kind != LIMIT]
        if commands(folder)[name].disk != "cache":  # the limit holds for the folder of the command, too
            cases += [(name, LIMIT, f"{size} bytes", size) for size in (100, 1_000, 4_000, 20_000, 50_000, 100_000)]
    rng.shuffle(cases)
    faults, done = [], 0
    for index, (name, kind, place, first) in enumerate(cases[:count]):
        if time.monotonic() >= until:
            break
        done += 1
        case, command = folder / f"{name}-{index}", commands(folder)[name]
        ended = command.run(case, kind, first)
        problems = _problems(ended)
        disk = command.failing(case)
        gone = disk.with_name(f"{disk.name}.gone")
        if gone.exists():
            left = [str(file.relative_to(disk)) for file in disk.rglob("*") if file.is_file()]
            if left and command.disk == "out":
                problems.append(f"was made anew with {', '.join(left[:3])}")
            if not (left and command.disk == "above"):  # a folder that is written as a whole may be
                shutil.rmtree(disk, ignore_errors=True)
                gone.rename(disk)
        if ended.status != 0 and command.disk == "cache":
            problems.append(f"status {ended.status}, although the cache is not needed: {ended.error[-300:]}")
        if ended.status != 0:
            again = command.run(case)
            problems += [f"status {again.status} when it is resumed: {again.error[-200:]}"] if again.status else []
        if not problems:
            problems += command.different(case / "out", folder / f"{name}-reference" / "out")
        faults += [f"{name}, {kind} at {place}: {problem}" for problem in problems]
        shutil.rmtree(case, ignore_errors=True)
    return {"failures": done, "places": len(cases), "different": faults}


def _problems(ended: Ended) -> list[str]:
    lines = [line for line in ended.error.splitlines() if "manticore: error:" in line]
    if ended.status == 0:
        return []  # the last writes of a command, or a file that it can do without, such as a cache
    problems = [] if ended.status == 1 else [f"status {ended.status}: {ended.error[-300:]}"]
    if len(lines) != 1 or "Traceback" in ended.error:
        problems.append(f"not one line: {ended.error[-300:]}")
    return problems
