"""The parts of the reliability benchmark, in their short forms."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manticore.experiment.run_dir import RunDir
from tests.helpers.pico_study import recipe


def in_fork(work: Callable[[], Any]) -> Any:
    """The value of a function that is called in a fork of this process, whose settings it may change."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: writer.send(work()))
    process.start()
    writer.close()
    try:
        return reader.recv()
    finally:
        process.join()


@pytest.mark.e2e
def test_a_search_that_is_killed_at_random_moments_has_the_same_result(tmp_path: Path, own_cache: Path) -> None:
    from benchmarks.reliability import kills

    found = kills.measure(tmp_path / "runs", kills=3)
    assert (found["kills"], found["different"]) == (3, [])


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["comparison", "ranks"])
def test_two_processes_that_are_killed_at_random_moments_have_the_same_result(
    tmp_path: Path, own_cache: Path, kind: str
) -> None:
    from benchmarks.reliability import group_kills

    found = group_kills.measure(tmp_path / "runs", kind, kills=1, number=1)
    assert (found["kills"], found["different"]) == (1, [])


@pytest.mark.e2e
@pytest.mark.slow
def test_mutated_inputs_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    from benchmarks.reliability import inputs

    found = in_fork(lambda: inputs.measure(tmp_path / "inputs", 162, number=7))
    assert found["inputs"] == 162
    assert [(outcome.words, outcome.faults, outcome.case) for outcome in found["faults"]] == []
    assert set(found["refused"]) == {kind.name for kind in inputs.KINDS}, "every kind has inputs that are refused"


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("command", ["search", "finetune", "export", "align", "cache"])
def test_a_command_on_a_disk_that_fails_ends_in_one_line_and_goes_on(
    command: str, tmp_path: Path, own_cache: Path
) -> None:
    from benchmarks.reliability import writes

    found = writes.measure(tmp_path / "writes", 4, number=2, names=(command,))
    assert (found["failures"], found["different"]) == (4, [])


@pytest.mark.e2e
def test_the_memory_of_a_search_does_not_grow(tmp_path: Path, own_cache: Path) -> None:
    from benchmarks.reliability import long_search

    found = in_fork(lambda: long_search.measure(tmp_path / "run", 100))
    assert len(found.megabytes) == long_search.SAMPLES
    assert found.growth < long_search.MOST_GROWTH


def test_partial_files_of_a_killed_run_are_removed_when_it_is_resumed(tmp_path: Path) -> None:
    part, whole = tmp_path / "checkpoints" / ".search.ckpt.abcd1234.part", tmp_path / "checkpoints" / "search.ckpt"
    folder = tmp_path / ".hybrid.abcd1234.part"
    folder.mkdir()
    part.parent.mkdir()
    for file in (part, whole, folder / "model.safetensors"):
        file.write_text("x")
    RunDir(tmp_path).create(recipe())
    assert (part.exists(), folder.exists(), whole.exists()) == (False, False, True)
