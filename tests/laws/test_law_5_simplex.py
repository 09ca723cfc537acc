"""Law 5: mixture weights lie on the simplex after every step, and all read-outs in one forward pass agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manticore.nas.regularizers import entropy, entropy_schedule
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.strategies import strategies
from manticore.training.callbacks import AlphaRecord
from tests.helpers.search_module import STEPS, batch, module, net, train


def on_the_simplex(weights_SK: Tensor) -> bool:
    return bool((weights_SK >= 0).all()) and torch.allclose(weights_SK.sum(-1), torch.ones(len(weights_SK)), atol=1e-6)


@pytest.mark.parametrize(("topology", "skip"), [("residual", True), ("hub", False)])
@pytest.mark.parametrize("relaxation", ["softmax", "fixed"])
@pytest.mark.parametrize("strategy", ["darts", "simultaneous"])
def test_after_every_alpha_step(strategy: str, relaxation: str, topology: str, skip: bool, tmp_path: Path) -> None:
    held = net(relaxation, topology=topology, skip=skip)
    if relaxation == "fixed":  # alphas that nothing depends on have no gradient, so nothing to search
        assert on_the_simplex(held.weights())
        return
    train(module(strategy, held), tmp_path / "checkpoints", [AlphaRecord(tmp_path / "alphas.jsonl")])
    records = [json.loads(line) for line in (tmp_path / "alphas.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(STEPS // 4 + 1, STEPS + 1))
    assert all(on_the_simplex(torch.tensor(record["weights"])) for record in records)
    assert all(record["candidates"] == list(held.candidates) for record in records)
    assert records[0]["alphas"] != records[-1]["alphas"]


def test_the_record_is_complete() -> None:
    assert {name for name in strategies if strategies[name].trains} == {"darts", "simultaneous"}, (
        "a new strategy belongs into the test above"
    )
    assert set(relaxations) == {"softmax", "fixed"}, "a new relaxation belongs into the test above"


@given(
    st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.floats(0.01, 10),
)
def test_whatever_the_alphas_are(alphas: list[list[float]], temperature: float) -> None:
    for name in ("softmax", "fixed"):
        assert on_the_simplex(relaxations[name](torch.tensor(alphas), RelaxationContext(temperature)))


@pytest.fixture
def noisy() -> Iterator[list[Tensor]]:
    """A relaxation that draws anew whenever it is read, with what it drew."""
    drawn: list[Tensor] = []

    @relaxations.register("noisy")
    def noisy(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
        noise_SK = torch.randn(alpha_SK.shape, generator=context.generator) if context.generator else 0.0
        drawn.append(torch.softmax(alpha_SK + noise_SK, -1))
        return drawn[-1]

    yield drawn
    relaxations._items.pop("noisy")


@pytest.mark.parametrize("topology", ["residual", "hub"])
def test_noise_is_drawn_once_a_pass_and_read_by_all(topology: str, noisy: list[Tensor]) -> None:
    held, given_batch = net("noisy", topology=topology).train(), batch()
    with torch.no_grad():
        logits = held(given_batch["input_ids"], given_batch["attention_mask"])
        assert len(noisy) == 1
        again = held(given_batch["input_ids"], given_batch["attention_mask"], weights=noisy[0])
        assert torch.equal(logits, again)
        held(given_batch["input_ids"], given_batch["attention_mask"])
    assert not torch.equal(noisy[0], noisy[1])


@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=4))
def test_entropy_is_none_at_a_path_and_the_number_of_stages_at_uniform(alphas: list[list[float]]) -> None:
    stages = len(alphas)
    assert (
        -1e-6
        <= entropy(relaxations["softmax"](torch.tensor(alphas), RelaxationContext())).sum().item()
        <= stages * (1 + 1e-5)
    )
    assert entropy(torch.eye(3)).sum().item() == 0
    assert entropy(torch.full((stages, 3), 1 / 3)).sum().item() == pytest.approx(stages)


@given(st.integers(1, 6), st.floats(0, 1))
def test_the_charge_rises_at_one_stage_after_the_other(stages: int, progress: float) -> None:
    together, ordered = (
        entropy_schedule(stages, progress, "uniform"),
        entropy_schedule(stages, progress, "stagewise"),
    )
    assert together == [progress] * stages
    assert ordered == sorted(ordered, reverse=True)
    assert all(0 <= ramp <= 1 for ramp in ordered)
    assert sum(0 < ramp < 1 for ramp in ordered) <= 1
    assert sum(ordered) == pytest.approx(stages * progress)
