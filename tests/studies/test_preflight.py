"""What a study settles before its first trial."""

from __future__ import annotations

import pytest
import torch

from manticore.config.sections import RunOptions
from manticore.studies.preflight import divide_threads


@pytest.mark.parametrize(("of_torch", "workers", "of_each"), [(4, 1, 4), (4, 2, 2), (3, 2, 1), (1, 2, 1)])
def test_workers_share_the_threads_of_torch(
    of_torch: int, workers: int, of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the cores of the machine: with OMP_NUM_THREADS=1 two threads on two busy cores are ten times slower."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: of_torch)
    assert divide_threads(RunOptions(), workers).threads == of_each
    assert divide_threads(RunOptions(threads=7), workers).threads == 7
