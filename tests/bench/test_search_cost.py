"""What a step keeps for its gradients, and a step of every registered strategy without a Trainer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from manticore.bench.activations import peak_activations
from manticore.bench.search_step import SECOND_ORDER_LIMIT, step_targets, step_timing
from manticore.bench.strategy_steps import strategy_steps
from manticore.bench.timing import Thunk, Timing
from manticore.nas.strategies import Strategy, strategies
from manticore.nas.strategies.darts import Darts
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, supernet
from tests.helpers.search_module import LABELS

BATCH = {
    "input_ids": torch.randint(3, VOCAB, (2, 9), generator=torch.Generator().manual_seed(0)),
    "attention_mask": torch.ones(2, 9, dtype=torch.long),
    "labels": torch.tensor([1, 3]),
}
PATH = ["base", "donor", "base"]


@pytest.fixture(scope="module")
def nets() -> tuple[Supernet, Supernet]:
    """A supernet of a classification task, and one of language models."""
    classifier = supernet("gpt_neo", "mamba", HeadSpec("classification", VOCAB, LABELS))
    return classifier.train(), supernet("gpt_neo", "mamba").train()


@pytest.fixture(scope="module")
def steps(nets: tuple[Supernet, Supernet]) -> dict[str, Thunk]:
    steps, reasons = strategy_steps(*nets, PATH, BATCH)
    assert not reasons
    return steps


def test_saved_tensors_are_counted_once_until_they_are_released() -> None:
    x = torch.zeros(1000, requires_grad=True)

    def chain() -> None:  # exp saves its output, twice the same storage for the product
        y = x.exp()
        (y * y).sum().backward()

    assert peak_activations(chain) == 4000
    assert peak_activations(lambda: x.exp().exp().sum().backward()) == 8000
    assert peak_activations(lambda: [x.exp().sum().backward() for _ in range(3)]) == 4000, "released in between"
    layer = nn.Linear(10, 20)
    inputs = torch.zeros(5, 10, requires_grad=True)
    assert peak_activations(lambda: layer(inputs).sum().backward()) == 4 * 50, "the weight is no activation"


@pytest.mark.parametrize("name", list(strategies))
def test_every_strategy_has_a_step(steps: dict[str, Thunk], name: str) -> None:
    steps[name]()


@pytest.mark.parametrize("name", ["darts", "uniform", "rloo"])
def test_a_step_changes_what_its_strategy_trains(
    nets: tuple[Supernet, Supernet], steps: dict[str, Thunk], name: str
) -> None:
    net = nets[0]
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    torch.manual_seed(0)
    steps[name]()
    moved = {key for key, value in net.named_parameters() if not torch.equal(value, before[key])}
    assert ("alpha" in moved) == (name != "uniform")
    assert any("segment" in key for key in moved)


def test_sampled_paths_keep_less_than_the_mixture_and_second_order_no_more(steps: dict[str, Thunk]) -> None:
    torch.manual_seed(0)
    peaks = {name: peak_activations(steps[name]) for name in ("darts", "darts-second-order", "uniform", "zero-shot")}
    assert peaks["uniform"] < 0.8 * peaks["darts"]
    assert peaks["darts-second-order"] < 1.1 * peaks["darts"]
    assert peaks["zero-shot"] < 0.05 * peaks["darts"], "nothing is trained"


@pytest.fixture
def registered() -> Iterator[list[str]]:
    """A strategy of a user, and one that refuses the supernet."""
    calls: list[str] = []

    @strategies.register("mine")
    class Mine(Darts):
        def step(self, search: object, batches: object) -> dict[str, float]:
            calls.append("mine")
            return {"loss": 0.0}

    @strategies.register("never")
    class Never(Strategy):
        def check(self, net: object) -> None:
            from manticore.errors import ManticoreError

            raise ManticoreError("searches nothing")

    yield calls
    for name in ("mine", "never"):
        strategies._items.pop(name)


def test_a_new_strategy_shows_up_by_itself(nets: tuple[Supernet, Supernet], registered: list[str]) -> None:
    steps, reasons = strategy_steps(*nets, PATH, BATCH)
    steps["mine"]()
    assert registered == ["mine"]
    assert "never" not in steps
    assert reasons == {"never": "searches nothing"}


def test_ratios_and_targets_are_those_of_the_fastest_runs() -> None:
    seconds = {"gpt-neo": 1.0, "mamba": 2.0, "dense mixture": 3.6, "path a": 1.5, "darts": 4.5}
    seconds["darts-second-order"] = 9.0
    timings = {name: Timing((3 * value, value, 2 * value)) for name, value in seconds.items()}
    peaks = {**dict.fromkeys(seconds, 100), "path a": 61}
    dense = step_timing("dense mixture", timings, peaks)
    assert (dense.kind, dense.ratio, dense.limit_met) == ("supernet", pytest.approx(1.2), False)
    path = step_timing("path a", timings, peaks)
    assert (path.ratio, path.limit_met, path.memory_share) == (pytest.approx(0.75), True, pytest.approx(0.61))
    darts = step_timing("darts", timings, peaks, is_strategy=True)
    assert (darts.kind, darts.ratio, darts.limit) == ("strategy", pytest.approx(1.5), None)
    order, memory = step_targets(timings, peaks, "path a")
    assert (order.value, order.limit, order.met) == (pytest.approx(2.0), SECOND_ORDER_LIMIT, True)
    assert (memory.value, memory.met) == (pytest.approx(0.61), False)
