"""Law 6: weights and architecture never see the same example, and nothing but the final test touches test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from manticore.api import search
from manticore.nas.space import SearchSpace
from manticore.pipelines import search as story
from manticore.tasks.catalog import tasks
from manticore.tasks.dataset import Example, Examples, Splits
from manticore.tasks.sampled import SampledTask
from manticore.training.modules import SearchModule, TrainModule
from tests.helpers.toy_task import NAME, QUICK, which_end

Content = tuple[int, ...]


class Guarded(Examples):
    """Examples that may be read at the right time only."""

    allowed = False

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        assert Guarded.allowed, "the test split was read before the final comparison"
        return super().__getitem__(index)


class Guard(SampledTask):
    """The task with its test split guarded."""

    def build(self) -> Splits:
        splits = super().build()
        return replace(splits, test=Guarded(splits.test.flat, splits.test.offsets, splits.test.labels))


def contents(examples: Examples) -> set[Content]:
    flat, ends = examples.flat, examples.offsets
    return {tuple(flat[start:end].tolist()) for start, end in pairwise(ends)}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[Content]]]:
    """What moved weights during the search, what moved alphas, and what any training saw."""
    held: dict[str, set[Content]] = {"weights": set(), "alphas": set(), "all": set()}

    def watch(kind: type, name: str, into: tuple[str, ...]) -> None:
        move: Callable[..., float] = getattr(kind, name)

        def watched(module: TrainModule, batch: dict[str, Tensor]) -> float:
            rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
            found = {tuple(ids[mask.bool()].tolist()) for ids, mask in rows}
            held["all"] |= found
            if isinstance(module, SearchModule):
                for key in into:
                    held[key] |= found
            return move(module, batch)

        monkeypatch.setattr(kind, name, watched)

    watch(TrainModule, "weight_step", ())
    watch(SearchModule, "weight_step", ("weights",))
    watch(SearchModule, "alpha_step", ("alphas",))
    watch(SearchModule, "joint_step", ("weights", "alphas"))

    evaluate = story.evaluate_on_test

    def opened(*args: Any) -> Any:
        monkeypatch.setattr(Guarded, "allowed", True)
        return evaluate(*args)

    monkeypatch.setattr(story, "evaluate_on_test", opened)

    @tasks.register(NAME)
    def guarded(options: Any) -> Guard:
        made = which_end(options)
        made.__class__ = Guard
        return made  # type: ignore[return-value]

    yield held
    tasks._items.pop(NAME)


@pytest.fixture
def splits() -> Splits:
    from manticore.tasks.options import TaskOptions

    return which_end(TaskOptions(NAME)).splits()


def run(strategy: str, out: Path) -> None:
    options = {**QUICK, "search": {**QUICK["search"], "strategy": strategy, "steps": 14}}
    search(SearchSpace(["gpt-neo", "mamba"], stages=2), NAME, out=out, quiet=True, **options)


def test_darts_keeps_weights_and_alphas_apart(seen: dict[str, set[Content]], splits: Splits, tmp_path: Path) -> None:
    run("darts", tmp_path / "run")
    assert seen["weights"] <= contents(splits.train)
    assert seen["alphas"] <= contents(splits.train_arch)
    assert len(seen["weights"]) > 30
    assert len(seen["alphas"]) > 30
    assert not seen["all"] & (contents(splits.val) | contents(splits.test))
    assert Guarded.allowed  # the final test did take place


def test_simultaneous_trains_both_on_all_training_data_and_on_nothing_else(
    seen: dict[str, set[Content]], splits: Splits, tmp_path: Path
) -> None:
    run("simultaneous", tmp_path / "run")
    training = contents(splits.train) | contents(splits.train_arch)
    assert seen["alphas"] <= seen["weights"] <= training
    assert seen["alphas"] & contents(splits.train)
    assert seen["alphas"] & contents(splits.train_arch)
    assert not seen["all"] & (contents(splits.val) | contents(splits.test))
