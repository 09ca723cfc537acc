"""Law 7 across processes: a training in two or four processes equals the same training in one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from rich.console import Console

from manticore.errors import ManticoreError, NonFiniteLoss
from manticore.nas.strategies import Darts, Search, Strategy
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import IGNORE, Batch, Example, Examples, pad_batch
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler
from manticore.training.callbacks import AlphaRecord
from manticore.training.options import LoopOptions, WeightOptions
from manticore.training.search_module import SearchModule
from manticore.training.trainer import Hardware, fit
from manticore.utils.rng import seed_rank
from tests.helpers.pico import VOCAB
from tests.helpers.processes import Processes
from tests.helpers.search_module import LABELS, STEPS, collate, examples, module, net

pytestmark = pytest.mark.e2e

BATCH = 9
"""Examples in a batch: not the same number in every process."""

CASES: dict[str, dict[str, Any]] = {
    "darts": {},
    "second order": {"strategy": "darts-second-order"},
    "sampled paths": {"sample_paths": True},
    "per example": {"strategy": "per-example"},
    "rloo": {"strategy": "rloo", "seed": 12},
    "bf16": {"precision": "bf16-mixed"},
    "single level": {"strategy": "simultaneous"},
    "hub": {"space": {"topology": "hub"}},
    "tokens": {"tokens": True, "micro": 2},
    "micro-batches": {"micro": 2},
    "random weights": {"strategy": "gdas"},
    "dirichlet": {"strategy": "drnas"},
    "adversarial": {"strategy": "sdarts-adversarial"},
    "block-wise": {"strategy": "blockwise"},
    "complexity": {"strategy": "complexity-bins"},
}


def token_examples(count: int, seed: int) -> Examples:
    """Sequences of which 0 to 4 tokens are scored, so that processes have other numbers of labels, or none."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        length = int(rng.integers(4, 10))
        labels = np.where(rng.random(length) < 0.3, rng.integers(0, LABELS, length), IGNORE)
        labels[:] = IGNORE if rng.random() < 0.6 else labels
        rows.append((rng.integers(3, VOCAB, length), labels))
    return Examples.pack(rows)


def token_batch(batch: Sequence[Example]) -> Batch:
    return pad_batch(batch, 0, per_token=True)


def train_case(hardware: Hardware, case: dict[str, Any], folder: Path, stop: int | None = None) -> dict[str, Any]:
    """Train a case to its end, or crash it after a step; what it ends with."""
    relaxation = {"gdas": "gumbel", "drnas": "dirichlet"}.get(case.get("strategy", ""), "softmax")
    supernet = net(relaxation, case.get("dropout", 0.0), **case.get("space", {}))
    tokens = case.get("tokens", False)
    if tokens:
        torch.manual_seed(5)
        parts = [*supernet.components.values()]
        supernet = Supernet(parts, supernet.space, supernet.base, HeadSpec("tokens", VOCAB, LABELS))
    options: dict[str, Any] = {"sample_paths": True} if case.get("sample_paths") else {}
    options["weights"] = WeightOptions(lr=case.get("lr", 5e-4), warmup_steps=3)
    loop = LoopOptions(micro_batch_size=case.get("micro", 0), log_every=2)
    searching: SearchModule = module(case.get("strategy", "darts"), supernet, loop=loop, **options)
    make = (token_examples, token_batch) if tokens else (examples, collate)
    streams = {
        name: BatchSampler(make[0](60, seed), BATCH, seed, make[1])
        for seed, name in enumerate(searching.strategy.streams)
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(case.get("seed", 11))
    record = AlphaRecord(folder / "alphas.jsonl")
    hardware = replace(hardware, precision=case.get("precision", "32-true"))
    callbacks: list[lightning.Callback] = [record, *([case["callback"]] if "callback" in case else [])]
    searching.until = stop
    fit(searching, streams, "search", folder / "checkpoints", hardware, Console(quiet=True), callbacks)
    state: dict[str, Any] = {f"net.{name}": value for name, value in supernet.state_dict().items()}
    for optimizer in searching.trainer.optimizers:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        names = {id(parameter): name for name, parameter in supernet.named_parameters()}
        for index, values in optimizer.state_dict()["state"].items():
            owner = names.get(id(parameters[index]), "a part")
            state |= {f"{key} of {owner}": torch.as_tensor(value) for key, value in values.items()}
    state["source of paths"] = searching.draws["cpu"].get_state()
    state["counts"] = torch.tensor([searching.step_count, searching.tokens, searching.flops], dtype=torch.float64)
    state = {name: value.detach().clone() for name, value in state.items()}
    state["records"] = [json.loads(line) for line in (folder / "alphas.jsonl").read_text().splitlines()]
    return state


def assert_equal(actual: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("source of paths", "counts"):
            assert torch.equal(actual[name], value), name
        elif name == "records":
            assert len(actual[name]) == len(value)
            for mine, theirs in zip(actual[name], value, strict=True):
                assert mine.keys() == theirs.keys()
                for key in ("step", "tokens"):
                    assert mine[key] == theirs[key]
                for key in ("alphas", "weights", "loss", "alpha_loss"):
                    np.testing.assert_allclose(mine[key], theirs[key], rtol=0, atol=10 * atol, err_msg=key)
        else:
            given = actual[name]
            if name.endswith("attn.c_attn.bias"):  # attention does not depend on the bias of keys; Adam scales up noise
                given, value = (np.delete(each, slice(16, 32)) for each in (given, value))
            np.testing.assert_allclose(given, value, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Processes]]:
    """Groups of processes, by their number."""
    groups: dict[int, Processes] = {}

    def start(count: int) -> Processes:
        if count not in groups:
            groups[count] = Processes(count, tmp_path_factory.mktemp("processes"))
        return groups[count]

    yield start
    assert not any(code for each in groups.values() for code in each.close())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The results of one process, by name of the case."""
    results: dict[str, Any] = {}

    def run(name: str) -> dict[str, Any]:
        if name not in results:
            results[name] = train_case(Hardware(checkpoint_every=4), CASES[name], tmp_path_factory.mktemp("alone"))
        return results[name]

    return run


@pytest.mark.parametrize("name", [*CASES])
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_equal_one(count: int, name: str, group: Any, alone: Any, tmp_path: Path) -> None:
    actual = group(count).call(train_case, CASES[name], tmp_path)
    assert_equal(actual, alone(name), 1e-6 if CASES[name].get("precision") is None else 2e-3)
    assert actual["counts"][0] == STEPS


@pytest.mark.parametrize("name", ["darts", "per example", "tokens"])
@pytest.mark.parametrize("counts", [(2, 1), (2, 4), (1, 2)], ids=str)
def test_a_training_is_resumed_by_another_number(
    counts: tuple[int, int], name: str, group: Any, alone: Any, tmp_path: Path
) -> None:
    for count, stop in zip(counts, (6, None), strict=True):
        arguments = (CASES[name], tmp_path, stop)
        if count == 1:
            actual = train_case(Hardware(checkpoint_every=4), *arguments)
        else:
            actual = group(count).call(train_case, *arguments)
        assert actual["counts"][0] == (stop or STEPS)
    assert_equal(actual, alone(name))


def test_dropout_differs_between_processes_and_paths_do_not(group: Any, tmp_path: Path) -> None:
    case = {"strategy": "per-example", "dropout": 0.2}
    expected = train_case(Hardware(checkpoint_every=4), case, tmp_path / "alone")
    actual = group(2).call(train_case, case, tmp_path / "two")
    assert torch.equal(actual["source of paths"], expected["source of paths"])
    assert torch.equal(actual["counts"], expected["counts"])
    assert any(not torch.allclose(actual[name], expected[name]) for name in expected if name.startswith("net."))

    group(2).call(train_case, case, tmp_path / "resumed", 6)
    resumed = group(2).call(train_case, case, tmp_path / "resumed")
    assert all(torch.equal(resumed[name], actual[name]) for name in actual if name.startswith("net."))


class StopAt(lightning.Callback):
    """Ends the training after a step: by SIGTERM, or as early stopping does."""

    def __init__(self, step: int, by_signal: bool) -> None:
        self.step, self.by_signal = step, by_signal

    def on_train_batch_end(self, trainer: Any, searching: SearchModule, *_: object) -> None:
        if searching.step_count == self.step and self.by_signal:
            os.kill(os.getpid(), signal.SIGTERM)
        elif searching.step_count == self.step:
            trainer.should_stop = True


def stopped_by_signal(hardware: Hardware, folder: Path) -> int:
    with pytest.raises(KeyboardInterrupt):
        train_case(hardware, {"callback": StopAt(5, True)}, folder)
    state = torch.load(folder / "checkpoints" / "search.ckpt", weights_only=True)
    return int(state["manticore"]["step_count"])


def test_sigterm_in_one_process_stops_all_after_the_step(group: Any, alone: Any, tmp_path: Path) -> None:
    pair = Processes(2, tmp_path)
    assert pair.call(stopped_by_signal, tmp_path / "run") == 5
    assert pair.close() == [0, 1], "the other process has stopped too"
    assert_equal(group(4).call(train_case, CASES["darts"], tmp_path / "run"), alone("darts"))


def test_a_callback_that_stops_the_training_stops_it_in_all_processes(group: Any, tmp_path: Path) -> None:
    assert group(2).call(train_case, {"callback": StopAt(5, False)}, tmp_path / "one")["counts"][0] == 5
    assert group(2).call(train_case, CASES["darts"], tmp_path / "next")["counts"][0] == STEPS


def test_every_process_has_random_numbers_of_its_own(group: Any) -> None:
    states = []
    for rank in range(3):
        torch.manual_seed(3)
        seed_rank(rank)
        states.append(torch.rand(()).item())
    torch.manual_seed(3)
    assert states[0] == torch.rand(()).item(), "the first process is as one alone"
    assert len(set(states)) == 3


def diverge(hardware: Hardware, folder: Path) -> str:
    with pytest.raises(NonFiniteLoss) as caught:
        train_case(hardware, {"lr": 1e30}, folder)
    return str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_training_alone(group: Any, tmp_path: Path) -> None:
    assert "became" in group(2).call(diverge, tmp_path)
    assert group(2).call(train_case, CASES["darts"], tmp_path / "next")["counts"][0] == STEPS


class OwnGradients(Darts):
    """Computes the gradient of the alphas from the examples of its own process alone."""

    def update_alphas(self, search: Search, batches: dict[str, Batch]) -> torch.Tensor:
        loss = search.loss(batches["alphas"])
        for alpha, gradient in zip(search.net.alphas, torch.autograd.grad(loss, search.net.alphas), strict=True):
            alpha.grad = gradient
        search.update_alphas(batches["alphas"])
        return loss.detach()


class OwnDraws(Darts):
    """Draws once more in all processes but the first."""

    def update_alphas(self, search: Any, batches: dict[str, Batch]) -> Any:
        if search.ranks.rank:
            search.net.sample()
        return super().update_alphas(search, batches)


def refusal_of(hardware: Hardware, strategy: type[Strategy], folder: Path) -> str:
    try:
        train_case(hardware, {"strategy": strategy}, folder)
    except ManticoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (OwnGradients, "the gradients that the strategy computes differ between processes"),
        (OwnDraws, "at step 4 the processes have different alphas or have drawn different paths"),
    ],
)
def test_a_strategy_that_lets_processes_differ_is_refused(
    strategy: type[Strategy], message: str, tmp_path: Path
) -> None:
    pair = Processes(2, tmp_path)
    assert message in pair.call(refusal_of, strategy, tmp_path / "run")
    assert pair.close()[1] == 1, "the other process ends with the same error"
