"""Law 6: weights and alphas never learn from the same example, and only the final evaluation reads the test split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from manticore.api import search
from manticore.nas.relaxations import relaxations
from manticore.nas.selection import selectors
from manticore.nas.space import SearchSpace
from manticore.nas.strategies import PathStrategy, TrainingFree, strategies
from manticore.pipelines import search as search_pipeline
from manticore.tasks.catalog import tasks
from manticore.tasks.dataset import Example, Examples, Splits
from manticore.tasks.sampled import SampledTask
from manticore.training.modules import TrainModule
from manticore.training.search_module import SearchModule
from tests.helpers.composed_strategy import RELAXATION, Composed, noisy_softmax
from tests.helpers.toy_task import NAME, QUICK, which_end

Content = tuple[int, ...]


class Guarded(Examples):
    """Test examples that may be read in the final evaluation only."""

    allowed = False

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        assert Guarded.allowed, "the test split was read before the final comparison"
        return super().__getitem__(index)


class Guard(SampledTask):
    """The task with a guarded test split."""

    def build(self) -> Splits:
        splits = super().build()
        return replace(splits, test=Guarded(splits.test.flat, splits.test.offsets, splits.test.labels))


def contents(examples: Examples) -> set[Content]:
    """The token ids of the examples."""
    flat, ends = examples.flat, examples.offsets
    return {tuple(flat[start:end].tolist()) for start, end in pairwise(ends)}


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[Content]]]:
    """The examples of weight steps in the search, of alpha steps, and of all training."""
    batches: dict[str, set[Content]] = {"weights": set(), "alphas": set(), "all": set()}

    def record(kind: type, name: str, keys: tuple[str, ...]) -> None:
        step: Callable[..., float] = getattr(kind, name)

        def recorded(module: TrainModule, batch: dict[str, Tensor], *args: Any, **options: Any) -> float:
            rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
            examples = {tuple(ids[mask.bool()].tolist()) for ids, mask in rows}
            batches["all"] |= examples
            repeated = name == "count_passes" and not options.get("tokens")  # passes over a batch of another step
            if isinstance(module, SearchModule) and not repeated:
                for key in keys:
                    batches[key] |= examples
            return step(module, batch, *args, **options)

        monkeypatch.setattr(kind, name, recorded)

    record(TrainModule, "weight_step", ())
    record(SearchModule, "weight_step", ("weights",))
    record(SearchModule, "alpha_step", ("alphas",))
    record(SearchModule, "joint_step", ("weights", "alphas"))
    record(SearchModule, "policy_step", ("alphas",))
    record(SearchModule, "update_alphas", ("alphas",))
    record(SearchModule, "example_step", ("weights",))
    record(SearchModule, "update_weights", ("weights",))
    record(SearchModule, "count_passes", ("alphas",))  # blockwise, whose alphas are set without a gradient

    evaluate = search_pipeline.evaluate_on_test

    def opened(*args: Any) -> Any:
        monkeypatch.setattr(Guarded, "allowed", True)
        return evaluate(*args)

    monkeypatch.setattr(search_pipeline, "evaluate_on_test", opened)

    @tasks.register(NAME)
    def guarded(options: Any) -> Guard:
        task = which_end(options)
        task.__class__ = Guard
        return task  # type: ignore[return-value]

    yield batches
    tasks._items.pop(NAME)


@pytest.fixture
def splits() -> Splits:
    from manticore.tasks.options import TaskOptions

    return which_end(TaskOptions(NAME)).splits()


ALONE = {"components": False, "uniform": False, "random": False}


def run(strategy: str, out: Path, selector: str = "auto", baselines: bool = False) -> None:
    options: dict[str, Any] = {
        **QUICK,
        "search": {**QUICK["search"], "strategy": strategy, "steps": 14},
        "selection": {"selector": selector},
        "baselines": {} if baselines else ALONE,
    }
    search(SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba"), NAME, out=out, quiet=True, **options)


def check_nothing_else(trained_on: dict[str, set[Content]], splits: Splits) -> None:
    """All training was on the training splits, and the final evaluation has read the test split."""
    assert trained_on["all"] <= contents(splits.train) | contents(splits.train_arch)
    assert not trained_on["all"] & (contents(splits.val) | contents(splits.test))
    assert Guarded.allowed


TRAINED = [name for name in strategies if not issubclass(strategies[name], TrainingFree)]
BILEVEL = [name for name in TRAINED if "alphas" in strategies[name].streams]
SINGLE_LEVEL = [name for name in TRAINED if name not in BILEVEL]


@pytest.fixture
def composed() -> Iterator[None]:
    """Registers a strategy of policy steps and gradients of its own."""
    relaxations.register(RELAXATION)(noisy_softmax)
    strategies.register("composed")(Composed)
    yield
    strategies._items.pop("composed")
    relaxations._items.pop(RELAXATION)


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize("strategy", [*BILEVEL, "composed"])
def test_bilevel_strategies_keep_weights_and_alphas_apart(
    strategy: str, trained_on: dict[str, set[Content]], splits: Splits, tmp_path: Path
) -> None:
    run(strategy, tmp_path / "run", baselines=strategy == "darts")
    assert trained_on["weights"] <= contents(splits.train)
    assert trained_on["alphas"] <= contents(splits.train_arch)
    assert len(trained_on["weights"]) > 30
    assert len(trained_on["alphas"]) > 30
    check_nothing_else(trained_on, splits)


@pytest.mark.parametrize("strategy", SINGLE_LEVEL)
def test_strategies_of_one_level_train_on_all_training_data_and_no_other(
    strategy: str, trained_on: dict[str, set[Content]], splits: Splits, tmp_path: Path
) -> None:
    run(strategy, tmp_path / "run")
    by_search = trained_on["all" if issubclass(strategies[strategy], PathStrategy) else "weights"]
    assert by_search & contents(splits.train)
    assert by_search & contents(splits.train_arch)
    assert trained_on["alphas"] <= trained_on["weights"]
    if "simultaneous" in strategy:
        assert trained_on["alphas"] & contents(splits.train)
        assert trained_on["alphas"] & contents(splits.train_arch)
    check_nothing_else(trained_on, splits)


@pytest.mark.parametrize("selector", [name for name in selectors if name != strategies["darts"].selector])
def test_no_selector_trains_on_the_validation_split_or_reads_the_test_split(
    selector: str, trained_on: dict[str, set[Content]], splits: Splits, tmp_path: Path
) -> None:
    run("darts", tmp_path / "run", selector)
    check_nothing_else(trained_on, splits)


@pytest.mark.parametrize("strategy", [name for name in strategies if name not in TRAINED])
def test_strategies_without_training_read_one_training_split(strategy: str) -> None:
    assert list(strategies[strategy].streams.values()) == [("train_arch",)]
