"""Scores that processes share out are those of one process, to the bit, and errors of any process are raised."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manticore.tasks.dataset import Batch, Example
from manticore.training.metrics import Metric
from manticore.training.scoring import Score, score
from manticore.training.shared_scoring import score_together
from manticore.training.trainer import Hardware
from tests.helpers.processes import Processes
from tests.helpers.search_module import collate, examples, net

pytestmark = pytest.mark.e2e


class Logged:
    """`collate` that writes the process and the number of examples of each batch into a folder."""

    def __init__(self, folder: Path, fails_at: int = -1) -> None:
        self.folder, self.fails_at = folder, fails_at

    def __call__(self, batch: Sequence[Example]) -> Batch:
        with (self.folder / str(os.getpid())).open("a") as log:
            log.write(f"{len(batch)}\n")
        if len(batch) == self.fails_at:
            raise ValueError(f"a batch of {len(batch)}")
        return collate(batch)


def right(answers: Any, labels: Any) -> float:
    """A metric of a user: the share of right answers, of all batches together."""
    return float((answers == labels).mean())


OWN = Metric("own", "own", "points", 1.0, 0.0, 3, compute=right)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    group = Processes(3, tmp_path_factory.mktemp("processes"))
    yield group
    assert group.close() == [0, 0, 0]


def scores(hardware: Hardware, folder: Path) -> list[Score]:
    """The scores of paths, then those after the weights and a setting of the net have changed."""
    supernet, data, logged = net(), examples(50, 1), Logged(folder)
    names = list(supernet.components)
    paths = [None, names[:1] * supernet.space.stages, names[1:2] * supernet.space.stages]
    first = [score_together(hardware, supernet, data, logged, 4, OWN, path=path) for path in paths]
    for parameter in supernet.parameters():
        parameter.data.mul_(3)
    second = score_together(hardware, supernet, data, logged, 4, OWN)
    others = [score_together(hardware, supernet, examples(9, seed), logged, 4) for seed in range(6)]
    return [*first, second, *others, score_together(hardware, supernet, data, logged, 4)]


def test_three_processes_equal_one(group: Processes, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("alone", "together")]
    for folder in folders:
        folder.mkdir()
    alone, together = scores(Hardware(), folders[0]), group.call(scores, folders[1])
    assert len(alone) == len(together) == 11
    for one, three in zip(alone, together, strict=True):
        assert one == three
        assert one.computed == three.computed
        np.testing.assert_array_equal(one.units, three.units)
        np.testing.assert_array_equal(one.losses, three.losses)
    assert alone[0] != alone[3]
    assert len(list(folders[1].iterdir())) == 3, "every process has scored batches"
    one, three = (sorted("".join(map(Path.read_text, folder.iterdir())).split()) for folder in folders)
    assert one == three, "each batch was scored by one process"


def failing(hardware: Hardware, folder: Path) -> list[str]:
    """Score batches of which the last one, of another process, is an error; then without the error."""
    supernet, data = net(), examples(18, 1)
    errors = []
    for fails_at in (2, -1):
        try:
            score_together(hardware, supernet, data, Logged(folder, fails_at), 4)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    return errors


def test_an_error_of_another_process_is_raised_and_the_next_score_is_right(group: Processes, tmp_path: Path) -> None:
    assert group.call(failing, tmp_path) == ["RuntimeError: ValueError: a batch of 2"]


def unsendable(hardware: Hardware) -> Score:
    """Score with a function that cannot be pickled."""
    return score_together(hardware, net(), examples(18, 1), lambda batch: collate(batch), 4)


def test_what_cannot_be_sent_is_scored_by_the_first_process(group: Processes) -> None:
    assert group.call(unsendable) == score(net(), examples(18, 1), collate, 4)
