"""FSDP: a training whose processes have a part of the weights each equals the same training in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from rich.console import Console

from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.training.batching import BatchSampler
from manticore.training.modules import FinetuneModule
from manticore.training.trainer import Hardware, fit
from manticore.utils.parts import own_part
from tests.helpers.processes import Processes
from tests.helpers.search_module import STEPS, batch, collate, examples, module, net
from tests.training.test_processes import CASES, train_case

pytestmark = pytest.mark.e2e


def run_case(hardware: Hardware, case: dict[str, Any], folder: Path, stop: int | None = None) -> dict[str, Any]:
    """What a training ends with, without the states of optimizers, of which the process has parts; its checkpoint."""
    state = train_case(hardware, case, folder, stop)
    state = {name: value for name, value in state.items() if name.startswith("net.") or name == "counts"}
    saved = torch.load(folder / "checkpoints" / "search.ckpt", weights_only=True)
    for number, optimizer in enumerate(saved["optimizer_states"]):
        for index, values in optimizer["state"].items():
            state |= {f"{key} {index} of optimizer {number}": torch.as_tensor(v) for key, v in values.items()}
    return state | {f"saved {name}": value for name, value in saved["state_dict"].items()}


def assert_equal(actual: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        given = actual[name]
        assert type(given) is torch.Tensor, name
        if name.endswith("attn.c_attn.bias"):  # attention does not depend on the bias of keys; Adam scales up noise
            given, value = (np.delete(each, slice(16, 32)) for each in (given, value))
        np.testing.assert_allclose(given, value, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Processes]]:
    """Groups of processes, by their number."""
    groups: dict[int, Processes] = {}

    def start(count: int) -> Processes:
        if count not in groups:
            groups[count] = Processes(count, tmp_path_factory.mktemp("sharded"), is_sharded=True)
        return groups[count]

    yield start
    assert not any(code for each in groups.values() for code in each.close())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The results of one process, by name of the case."""
    results: dict[str, Any] = {}

    def run(name: str) -> dict[str, Any]:
        if name not in results:
            results[name] = run_case(Hardware(checkpoint_every=4), CASES[name], tmp_path_factory.mktemp("alone"))
        return results[name]

    return run


@pytest.mark.parametrize("name", ["darts", "sampled paths", "rloo", "single level", "tokens", "micro-batches"])
@pytest.mark.parametrize("count", [2, 4])
def test_sharded_weights_equal_one_process(count: int, name: str, group: Any, alone: Any, tmp_path: Path) -> None:
    actual = group(count).call(run_case, CASES[name], tmp_path)
    assert_equal(actual, alone(name))
    assert actual["counts"][0] == STEPS


@pytest.mark.parametrize("counts", [(2, 1), (2, 4), (1, 2), (4, 2)], ids=str)
def test_a_training_is_resumed_by_another_number(
    counts: tuple[int, int], group: Any, alone: Any, tmp_path: Path
) -> None:
    for count, stop in zip(counts, (6, None), strict=True):
        arguments = (CASES["sampled paths"], tmp_path, stop)
        if count == 1:
            actual = run_case(Hardware(checkpoint_every=4), *arguments)
        else:
            actual = group(count).call(run_case, *arguments)
        assert actual["counts"][0] == (stop or STEPS)
    assert_equal(actual, alone("sampled paths"))


def test_a_sharded_training_is_resumed_to_the_bit(group: Any, tmp_path: Path) -> None:
    expected = group(2).call(run_case, CASES["darts"], tmp_path / "one")
    group(2).call(run_case, CASES["darts"], tmp_path / "two", 6)
    actual = group(2).call(run_case, CASES["darts"], tmp_path / "two")
    assert_equal(actual, expected, 0)


class CountOwn(lightning.Callback):
    """Counts the entries of the weights that this process has, and those of the moments of Adam."""

    def on_train_end(self, trainer: Any, module: Any) -> None:
        weights = [parameter for _, parameter in module.named_weights]
        states = [trainer.optimizers[0].state[weight].values() for weight in weights]
        moments = [next(v for v in values if v.shape == w.shape) for w, values in zip(weights, states, strict=True)]
        for name, tensors in (("weights", weights), ("moments", moments)):
            module.memory[name] = [float(sum(own_part(tensor).numel() for tensor in tensors))]


def finetune(hardware: Hardware, folder: Path, optimizer: str) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The weights of a hybrid after a training, and how many entries of them and of its optimizer the process has."""
    torch.manual_seed(5)
    hybrid = discretize(net(), ["attention", "recurrent"])
    options = {"optimizer": optimizer, "lr": 1e-2, "warmup_steps": 2}
    training: Any = FinetuneModule(hybrid, options, STEPS, {"micro_batch_size": 2, "log_every": 2})
    training.memory = {}
    streams = {"weights": BatchSampler(examples(60, 3), 5, 0, collate)}
    fit(training, streams, "fine-tune", folder / "checkpoints", hardware, Console(quiet=True), [CountOwn()])
    return {name: value.clone() for name, value in hybrid.state_dict().items()}, training.memory


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("count", [2, 4])
def test_a_fine_tuning_with_sharded_weights_equals_one_process(
    count: int, optimizer: str, group: Any, tmp_path: Path
) -> None:
    expected, all_entries = finetune(Hardware(checkpoint_every=4), tmp_path / "one", optimizer)
    actual, own = group(count).call(finetune, tmp_path / "several", optimizer)
    assert_equal(actual, expected)
    for name in own:
        assert 1 <= count * own[name][0] / all_entries[name][0] < 1.1, "a process has its part of each tensor"


def test_a_path_for_each_example_is_refused() -> None:
    searching = module("per-example")
    searching.is_sharded = True
    with pytest.raises(ManticoreError, match="a path of its own for each example; use --distributed ddp"):
        searching.loss({**batch(), "paths": torch.zeros(6, 2, dtype=torch.long)})
