"""Law 5: mixing weights are on the simplex after every step, and one forward pass reads them once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manticore.nas.regularizers import entropy, entropy_schedule
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.strategies import PathStrategy, SampledSupernet, Strategy, TrainingFree, strategies
from manticore.training.callbacks import AlphaRecord
from tests.helpers.composed_strategy import RELAXATION, Composed, noisy_softmax
from tests.helpers.ops import CONV, EMA, OPS
from tests.helpers.search_module import STEPS, batch, module, net, skip_if_refused, train


def on_the_simplex(weights_SK: Tensor) -> bool:
    return bool((weights_SK >= 0).all()) and torch.allclose(weights_SK.sum(-1), torch.ones(len(weights_SK)), atol=1e-6)


WITHOUT_ALPHAS = TrainingFree | SampledSupernet | PathStrategy
WITH_ALPHAS = [name for name in strategies if not issubclass(strategies[name], WITHOUT_ALPHAS)]
"""Strategies with alpha steps."""


@pytest.mark.parametrize(("topology", "skip"), [("residual", True), ("hub", False)])
@pytest.mark.parametrize("strategy", WITH_ALPHAS)
def test_weights_are_on_the_simplex_after_every_alpha_step(
    strategy: str, topology: str, skip: bool, tmp_path: Path
) -> None:
    supernet = net(strategies[strategy].relaxation or "softmax", topology=topology, skip=skip)
    skip_if_refused(strategies[strategy], supernet)
    train(module(strategy, supernet), tmp_path / "checkpoints", [AlphaRecord(tmp_path / "alphas.jsonl")])
    records = [json.loads(line) for line in (tmp_path / "alphas.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(STEPS // 4 + 1, STEPS + 1))
    assert all(on_the_simplex(torch.tensor(record["weights"])) for record in records)
    assert all(record["candidates"] == list(supernet.candidates) for record in records)
    assert records[0]["alphas"] != records[-1]["alphas"]


SPACES = {
    "ops, masks and shared choices": {
        "ops": OPS,
        "skip": True,
        "stage_candidates": {1: ["attention", CONV, EMA], 2: [CONV, EMA, "skip"]},
        "shared_stages": [[1, 2]],
    },
    "a fixed stage": {"stage_candidates": {1: "recurrent"}},
    "a fixed stage of the hub": {"stage_candidates": {2: "recurrent"}, "topology": "hub"},
}


@pytest.mark.parametrize(
    ("strategy", "space"),
    [
        pytest.param(strategy, space, id=f"{strategy.__name__}, {name}")
        for strategy in (*map(strategies.__getitem__, WITH_ALPHAS), Composed)
        for name, space in SPACES.items()
        if strategy is not Composed or "topology" not in space  # paths of the hub do not run alone
    ],
)
def test_where_stages_differ_or_share_their_choice(
    strategy: type[Strategy], space: dict[str, Any], tmp_path: Path, noisy: list[Tensor]
) -> None:
    supernet = net(strategy.relaxation or "softmax", **space)
    skip_if_refused(strategy, supernet)
    train(module(strategy, supernet), tmp_path / "checkpoints", [AlphaRecord(tmp_path / "alphas.jsonl")])
    records = [json.loads(line) for line in (tmp_path / "alphas.jsonl").read_text().splitlines()]
    assert records[0]["alphas"] != records[-1]["alphas"]
    choices = supernet.choices
    for record in records:
        weights = torch.tensor(record["weights"])
        assert on_the_simplex(weights)
        for stage, row in enumerate(weights):
            assert {index for index, weight in enumerate(row) if weight > 0} == set(choices.allowed[stage])
            assert torch.equal(row, weights[choices.rows[stage]])
            assert record["alphas"][stage] == record["alphas"][choices.rows[stage]]
    for _ in range(20):
        choices.check(supernet.sample())


@pytest.mark.parametrize("relaxation", ["softmax", "fixed"])
def test_uniform_over_the_candidates_that_a_stage_has(relaxation: str) -> None:
    weights = net(relaxation, stage_candidates={1: "recurrent"}).weights()
    assert torch.equal(weights, torch.tensor([[0.0, 1.0], [0.5, 0.5]]))


@given(
    st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.floats(0.01, 10),
)
def test_any_alphas_give_weights_on_the_simplex(alphas: list[list[float]], temperature: float) -> None:
    for name in ("softmax", "fixed", "gumbel", "reinmax", "dirichlet"):
        for generator in (None, torch.default_generator):
            context = RelaxationContext(temperature, 0.5, generator)
            assert on_the_simplex(relaxations[name](torch.tensor(alphas), context)), name
    assert set(relaxations) == {"softmax", "fixed", "gumbel", "reinmax", "dirichlet"}, "a new one belongs here"


@pytest.fixture
def noisy() -> Iterator[list[Tensor]]:
    """A relaxation that draws noise at each call, with the weights that it returned."""
    drawn: list[Tensor] = []

    def recorded(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
        drawn.append(noisy_softmax(alpha_SK, context))
        return drawn[-1]

    relaxations.register(RELAXATION)(recorded)
    yield drawn
    relaxations._items.pop(RELAXATION)


@pytest.mark.parametrize("topology", ["residual", "hub"])
def test_noise_is_drawn_once_in_a_forward_pass(topology: str, noisy: list[Tensor]) -> None:
    supernet, rows = net(RELAXATION, topology=topology).train(), batch()
    with torch.no_grad():
        logits = supernet(rows["input_ids"], rows["attention_mask"])
        assert len(noisy) == 1
        again = supernet(rows["input_ids"], rows["attention_mask"], weights=noisy[0])
        assert torch.equal(logits, again)
        supernet(rows["input_ids"], rows["attention_mask"])
    assert not torch.equal(noisy[0], noisy[1])


@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=4))
def test_entropy_is_0_at_a_path_and_the_number_of_stages_at_uniform(alphas: list[list[float]]) -> None:
    stages = len(alphas)
    assert (
        -1e-6
        <= entropy(relaxations["softmax"](torch.tensor(alphas), RelaxationContext())).sum().item()
        <= stages * (1 + 1e-5)
    )
    assert entropy(torch.eye(3)).sum().item() == 0
    assert entropy(torch.full((stages, 3), 1 / 3)).sum().item() == pytest.approx(stages)


@given(st.integers(1, 6), st.floats(0, 1))
def test_the_stagewise_schedule_rises_in_one_stage_after_another(stages: int, progress: float) -> None:
    uniform, stagewise = (
        entropy_schedule(stages, progress, "uniform"),
        entropy_schedule(stages, progress, "stagewise"),
    )
    assert uniform == [progress] * stages
    assert stagewise == sorted(stagewise, reverse=True)
    assert all(0 <= factor <= 1 for factor in stagewise)
    assert sum(0 < factor < 1 for factor in stagewise) <= 1
    assert sum(stagewise) == pytest.approx(stages * progress)
