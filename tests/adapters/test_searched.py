"""Searched sizes of MoRe: the mixture and its cost, the choice, and the search in fine-tunings and searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from manticore.adapters.attach import attach
from manticore.adapters.base import adapter_options
from manticore.adapters.options import AdapterOptions
from manticore.adapters.searched import (
    SearchedMoRe,
    SearchedMoReOptions,
    chosen_sizes,
    decide_sizes,
    size_parameters,
    size_penalty,
)
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.pico import supernet
from tests.helpers.search_module import module, net, train

SIZES = ((1, 4), (4, 4), (2, 8))


def searched(m: int = 16, n: int = 16, sizes: tuple[tuple[int, int], ...] = SIZES) -> SearchedMoRe:
    """An adapter in double precision whose mixing weights are not equal and whose changes are not 0."""
    torch.manual_seed(0)
    adapter = SearchedMoRe(torch.empty(m, n, dtype=torch.float64), SearchedMoReOptions(sizes))
    with torch.no_grad():
        adapter.beta.normal_()
        for part in adapter._parts:
            part.B2.normal_()
    return adapter


def test_the_change_is_the_weighted_sum_and_then_one_of_them() -> None:
    adapter = searched()
    expected = sum(w * part.delta() for w, part in zip(adapter.beta.softmax(0), adapter._parts, strict=True))
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(adapter.delta(), expected)
    x = torch.randn(3, 16, dtype=torch.float64)
    torch.testing.assert_close(adapter(x), x @ expected.T)
    decide_sizes(nn.ModuleDict({"layer": _layer(adapter)}))
    best = adapter._parts[int(adapter.beta.argmax())]
    assert adapter.chosen is best
    torch.testing.assert_close(adapter.delta(), best.delta())
    torch.testing.assert_close(adapter(x), best(x))
    assert adapter.trained == best.trained


def _layer(adapter: SearchedMoRe) -> nn.Module:
    layer = nn.Linear(16, 16)
    layer.adapter = adapter
    return layer


def test_the_cost_is_the_expected_share_of_parameters_and_falls_along_its_gradient() -> None:
    adapter = searched()
    model = _layer(adapter)
    expected = float((adapter.beta.softmax(0) * torch.tensor([128.0, 128.0, 256.0])).sum().detach()) / 256
    penalty = size_penalty(model)
    assert float(penalty.detach()) == pytest.approx(0.1 * expected)
    penalty.backward()
    assert adapter.beta.grad is not None
    assert adapter.beta.grad[2] > 0  # the largest size loses weight
    assert adapter.beta.grad[0] < 0


@pytest.mark.parametrize(("target", "size"), [("monarch", (4, 4)), ("low-rank", (1, 4))])
def test_the_kind_of_the_target_is_chosen_at_equal_parameters(target: str, size: tuple[int, int]) -> None:
    adapter = searched(64, 64, ((1, 4), (4, 4)))
    low, monarch = (part.delta().detach().clone() for part in adapter._parts)
    goal = monarch if target == "monarch" else low
    for part in adapter._parts:
        part.approximate_(goal)
    nn.init.zeros_(adapter.beta)
    optimizer = torch.optim.Adam([adapter.beta], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        (adapter.delta() - goal).square().mean().backward()
        optimizer.step()
    assert (adapter.chosen.N, adapter.chosen.r) == size
    assert adapter.beta.softmax(0).max() > 0.8


def test_sizes_that_do_not_fit_a_layer_are_left_out() -> None:
    assert len(searched(16, 3).parts) == 2
    with pytest.raises(ManticoreError, match="blocks 4 is above 3"):
        SearchedMoRe.check(16, 3, SearchedMoReOptions(((4, 4),)))
    with pytest.raises(ManticoreError, match=r"configurations must be pairs of blocks and rank.*got \[\[4\]\]"):
        adapter_options("searched-more", {"configurations": [[4]]})


def test_a_path_keeps_the_choice_and_sizes_are_no_weights() -> None:
    searching = supernet("gpt_neo", "mamba")
    attach(searching, AdapterOptions("searched-more", options={"configurations": [[2, 2], [1, 2]]}))
    assert len(size_parameters(searching)) > 3
    assert not [name for name, _ in named_weights(searching) if name.endswith("beta")]
    decide_sizes(searching, dict.fromkeys(chosen_sizes(searching)["layers"], 1))
    path = discretize(searching, ["base", "donor", "base"])
    assert {layer["blocks"] for layer in chosen_sizes(path)["layers"].values()} == {1}


class Stop(lightning.Callback):
    """Raises an exception after step 7, as in a crash."""

    def on_train_batch_end(self, trainer: object, searching: Any, *_: object) -> None:
        if searching.step_count == 7:
            raise InterruptedError


def test_a_search_trains_sizes_after_its_warmup_decides_at_its_end_and_resumes(tmp_path: Path) -> None:
    def searching() -> Any:
        torch.manual_seed(3)
        own = net()
        options = {"configurations": [[2, 2], [1, 2], [1, 4]], "cost_weight": 5.0}
        attach(own, AdapterOptions("searched-more", options=options))
        return module("darts", own)

    full = searching()
    assert not any(beta.any() for beta in size_parameters(full.net))
    train(full, tmp_path / "full")
    sizes = chosen_sizes(full.net)["layers"].values()
    assert all(beta.any() for beta in size_parameters(full.net))
    assert {layer["rank"] for layer in sizes} == {2}  # the cost leaves the larger one out
    for layer in sizes:
        assert layer["weights"][f"{layer['blocks']}x{layer['rank']}"] == max(layer["weights"].values())
    with pytest.raises(InterruptedError):
        train(searching(), tmp_path / "parts", [Stop()])
    resumed = searching()
    train(resumed, tmp_path / "parts")
    assert chosen_sizes(resumed.net) == chosen_sizes(full.net)
    assert all(map(torch.equal, resumed.net.parameters(), full.net.parameters()))


def finetune(run: Path, out: Path, *more: str) -> list[str]:
    options = ("finetune", run, "--out", out, "--steps", 8, "--batch-size", 8, "--set", "run.device=cpu")
    adapter = ("--adapter", "searched-more", "--set", "adapter.options.configurations=[[2, 2], [1, 2]]")
    return [*map(str, options), *adapter, "--set", "run.checkpoint_every=3", *more]


@pytest.mark.e2e
def test_a_finetuning_searches_sizes_and_writes_them(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    status, out, err = call(capsys, *finetune(pico_run, tmp_path / "out", "--keep-adapter"))
    assert (status, err) == (0, "")
    sizes = json.loads((tmp_path / "out" / "adapters.json").read_text())
    assert f"{sizes['parameters']:,} parameters" in out
    folder = tmp_path / "out" / "hybrid" / "adapter"
    record = json.loads((folder / "adapter.json").read_text())
    assert record["adapter"] == "more"
    assert {name: (own["blocks"], own["rank"]) for name, own in sizes["layers"].items()} == {
        name: (own["numbers"]["N"], own["numbers"]["r"]) for name, own in record["layers"].items()
    }
    assert all(tensor.any() for tensor in load_file(folder / "adapter_model.safetensors").values())
    assert call(capsys, "evaluate", tmp_path / "out", "--set", "task.test=20")[0] == 0


def test_strategies_without_steps_of_the_alphas_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["search", *PICO, "--strategy", "rloo", "--adapter", "searched-more", "--out", tmp_path / "out"]
    assert "adapter.name searched-more is trained with the alphas, which --strategy rloo" in refusal(capsys, *arguments)
    assert not (tmp_path / "out").exists()
