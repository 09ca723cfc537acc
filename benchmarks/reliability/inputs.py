"""Thousands of mutated inputs: each must be read, or refused in one line, within bounds of memory and time.

Inputs are drawn by hypothesis. Commands run in forks of this process, one fork for many of them, so that a crash or a
hang is that of a known input.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.reliability.guard import MOST_SECONDS, Guard, TrainingBegins, faults_of
from benchmarks.reliability.mutations import Mutation, mutated, mutated_command
from benchmarks.reliability.valid_inputs import KINDS, WRITTEN_INPUTS, InputKind, write_inputs

BATCH = 50
"""Inputs that one fork reads."""


@dataclass(frozen=True)
class Case:
    """A mutated input: numbers of its kind, file and command, modulo how many there are, and its mutations."""

    kind: int
    file: int
    command: int
    mutations: tuple[Mutation, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: the exit status, faults as text, the command, and the end of the error output."""

    kind: str
    words: list[str]
    status: int
    faults: list[str]
    error: str
    case: Case


MUTATIONS = st.builds(Mutation, st.booleans(), st.integers(0, 1 << 16), st.integers(0, 1 << 20))
CASES = st.builds(
    Case,
    st.integers(0, len(KINDS) - 1),
    st.integers(0, 63),
    st.integers(0, 63),
    st.lists(MUTATIONS, min_size=1, max_size=3).map(tuple),
)


def draw_cases(count: int, number: int) -> list[Case]:
    """Cases that hypothesis draws with a seed, equally many of every kind."""
    cases: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return [replace(case, kind=index % len(KINDS)) for index, case in enumerate(cases[:count])]


class Workplace:
    """Folders in which cases are run: valid inputs, the cache, and a folder for one case at a time.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        self.valid, self.case, self.marker = folder / "valid", folder / "case", folder / "marker"
        self.cache, self.temporary = folder / "cache", folder / "tmp"
        for path in (self.cache, self.temporary, folder / "home"):
            path.mkdir(parents=True)
        self.environment = {
            "MANTICORE_CACHE": str(self.cache),
            "HOME": str(folder / "home"),
            "TMPDIR": str(self.temporary),
            "TRAP_MARKER": str(self.marker),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def prepare(self) -> None:
        """Set the environment of this process, write the valid inputs, and run every command once on them."""
        import tempfile

        from manticore.training import trainer

        os.environ.update(self.environment)
        tempfile.tempdir = None
        write_inputs(self.valid)
        sys.path.append(str(self.valid / "trap"))
        trainer.run_training = _training_begins
        self.guard = Guard([self.case, self.cache, self.temporary, self.valid.parent / "home"], self.case)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for kind in KINDS:
            for number in range(len(kind.commands)):
                outcome = self.run(Case(KINDS.index(kind), 0, number, ()))
                if outcome.status or outcome.faults:
                    raise SystemExit(f"a valid {kind.name} fails: {outcome.words} {outcome.faults} {outcome.error}")

    def run(self, case: Case) -> Outcome:
        """Run one case in this process."""
        kind = KINDS[case.kind]
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()
        self.case.mkdir()
        words = list(kind.commands[case.command % len(kind.commands)])
        if kind.folder:
            shutil.copytree(self.valid / kind.folder, self.case / "in")
            self._mutate(kind, case)
        else:
            for mutation in case.mutations:
                words = mutated_command(words, mutation)
        paths = {"in": self.case / "in", "out": self.case / "out", **{n: self.valid / n for n in ("text", "run")}}
        for name, path in paths.items():
            words = [word.replace(f"{{{name}}}", str(path)) for word in words]
        os.chdir(self.case)
        before = _state(self.case)
        status, faults, error = faults_of(words, self.guard, self.marker)
        if kind.folder:  # a command line may name any folder
            faults += self._changes(before, _state(self.case), words[:1], status)
        return Outcome(kind.name, words, status, faults, error, case)

    def _mutate(self, kind: InputKind, case: Case) -> None:
        files = sorted(file for pattern in kind.files for file in (self.case / "in").glob(pattern))
        file = files[case.file % len(files)]
        content = file.read_bytes()
        for mutation in case.mutations:
            content = mutated(str(file), content, mutation)
        file.write_bytes(content)

    def _changes(self, before: dict[str, Any], after: dict[str, Any], words: list[str], status: int) -> list[str]:
        """Files that a command should not have left, or changed."""
        faults = []
        allowed = tuple(name for word in words for name in WRITTEN_INPUTS.get(word, ()))
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) == after.get(name):
                continue
            if name.endswith((".part", ".lock")):
                faults.append(f"left: {name}")
            elif name.partition("/")[0] == "in" and not any(name.startswith(f"in/{end}") for end in allowed):
                faults.append(f"changed: {name}")
            elif name.partition("/")[0] not in ("in", "out"):
                faults.append(f"outside: {name}")
            elif status == 2 and name.partition("/")[0] == "out":
                faults.append(f"left: {name} after an error")
        faults += [f"left: {path}" for path in self.temporary.iterdir()]
        return faults

    def run_all(self, cases: list[Case], until: float = math.inf) -> Iterator[Outcome]:
        """Run cases in forks; one that crashes or hangs ends its fork, and the next case begins another.

        After the time `until` no fork is begun.
        """
        left = list(cases)
        while left and time.monotonic() < until:
            batch, done = left[:BATCH], 0
            reader, writer = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(target=self._serve, args=(batch, writer))
            process.start()
            writer.close()
            while done < len(batch):
                ready = select.select([reader], [], [], 10 * MOST_SECONDS)[0]
                try:
                    outcome = reader.recv() if ready else None
                except EOFError:
                    outcome = None
                if outcome is None:
                    case = batch[done]
                    if not ready and process.pid is not None:
                        os.kill(process.pid, signal.SIGKILL)
                    process.join()
                    reason = "seconds: more than it may take" if not ready else f"crash: {process.exitcode}"
                    kind = KINDS[case.kind]
                    words = list(kind.commands[case.command % len(kind.commands)])
                    outcome = Outcome(kind.name, words, -1, [reason], "", case)
                    yield outcome
                    done += 1
                    break
                yield outcome
                done += 1
            process.join()
            reader.close()
            left = left[done:]

    def _serve(self, batch: list[Case], writer: Any) -> None:
        for case in batch:
            writer.send(self.run(case))


def _training_begins(*_: object, **__: object) -> None:
    raise TrainingBegins


def _state(folder: Path) -> dict[str, Any]:
    """Size and time of each file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = None if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return {name: value if value is not None else "folder" for name, value in found.items()}


def measure(folder: Path, count: int, number: int = 0, first: int = 0, until: float = math.inf) -> dict[str, Any]:
    """Run `count` mutated inputs in `folder`, from the one with the number `first` on, or fewer until a time.

    Returns the number of `inputs` that were run, the numbers of `accepted` and of `refused` ones and the `seconds` by
    kind, and the outcomes with `faults`, which are also printed at once.
    """
    place = Workplace(folder)
    place.prepare()
    cases = draw_cases(first + count, number)[first:]
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    faults = []
    started = time.monotonic()
    for outcome in place.run_all(cases, until):
        (refused if outcome.status == 2 else accepted)[outcome.kind] += 1
        seconds[outcome.kind] += time.monotonic() - started
        started = time.monotonic()
        if outcome.faults:
            faults.append(outcome)
            print(f"{outcome}\n  {outcome.error}", file=sys.stderr, flush=True)
    done = accepted.total() + refused.total()
    return {"inputs": done, "accepted": accepted, "refused": refused, "seconds": seconds, "faults": faults}
