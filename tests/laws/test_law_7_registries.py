"""Law 7 for whole runs, with every strategy, selector, adapter and kind of task that is registered, in every phase.

What is registered later is tested without a change of this file, unless the run of these tests is refused with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manticore.adapters.catalog import adapters
from manticore.errors import ManticoreError
from manticore.experiment.phases import FINETUNE, RANDOM_PATH, UNIFORM_MIXTURE
from manticore.modeling.heads import HEADS
from manticore.nas.selection import selectors
from manticore.nas.strategies import strategies
from tests.helpers.interrupted_runs import assert_same_runs, killed_after, recorded
from tests.helpers.kind_tasks import kind_tasks, search

pytestmark = pytest.mark.e2e

LANGUAGE = "compares aligned language models: it needs a language task"
NO_INPUTS = "starts from what a trained hybrid computes; use it with manticore finetune"
REFUSED = {
    "strategy zero-shot": f"zero-shot {LANGUAGE}",
    "strategy replace-one": f"replace-one {LANGUAGE}",
    "adapter corda": f"adapter.name corda {NO_INPUTS}",
    "adapter ladder": f"adapter.name ladder {NO_INPUTS}",
    "adapter more-trials": f"adapter.name more-trials {NO_INPUTS}",
}
"""What cannot be in the run of these tests, by name, and the start of the error. Nothing else is skipped."""


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    """A task for each kind, which the runs select by name."""
    with kind_tasks():
        yield


def check(tmp_path: Path, name: str, after: str = "", **options: Any) -> None:
    """A run with `name` that is ended half-way, or after the file `after`, equals an uninterrupted one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    if name in REFUSED:
        with pytest.raises(ManticoreError) as refusal:
            search(whole, **options)
        assert str(refusal.value).startswith(REFUSED[name])
        return
    with recorded(whole) as events:
        search(whole, **options)
    last = events.names.index(after) + 1 if after else len(events.names) // 2
    assert killed_after(parts, last, lambda: search(parts, **options))
    search(parts, **options)
    assert_same_runs(parts, whole)


@pytest.mark.parametrize("strategy", list(strategies))
def test_every_strategy_resumes(strategy: str, tmp_path: Path) -> None:
    check(tmp_path, f"strategy {strategy}", search={"strategy": strategy, "steps": 10})


@pytest.mark.parametrize("selector", list(selectors))
def test_every_selector_selects_the_same_path_after_a_search_that_is_read_again(selector: str, tmp_path: Path) -> None:
    check(tmp_path, f"selector {selector}", "checkpoints/search.json", selection={"selector": selector})


@pytest.mark.parametrize("adapter", list(adapters))
def test_every_adapter_resumes(adapter: str, tmp_path: Path) -> None:
    check(
        tmp_path, f"adapter {adapter}", adapter=adapter
    )  # SaRA trains one weight of dt_proj, and after half of the steps none


@pytest.mark.parametrize("kind", list(HEADS))
def test_every_kind_of_task_resumes(kind: str, tmp_path: Path) -> None:
    check(tmp_path, f"kind {kind}", kind=kind)


def test_every_phase_resumes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    baselines = {"baselines": {"components": True, "uniform": True, "random": True}}
    with recorded(whole) as events:
        search(whole, **baselines)
    phases = {name.rpartition(" step ")[0] for name in events.names if " step " in name}
    assert phases >= {"search", FINETUNE, UNIFORM_MIXTURE, RANDOM_PATH}
    assert len(phases) == 6, "each component alone, too"
    kills = 0
    while killed_after(parts, 9, lambda: search(parts, **baselines)):
        kills += 1
    assert kills > len(phases)
    assert_same_runs(parts, whole)
