"""The check after the first step: an adapter without a gradient ends the run, in fine-tunings and in searches."""

from __future__ import annotations

from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from manticore.adapters.attach import attach
from manticore.adapters.base import adapted_layers
from manticore.adapters.gradient_check import GradientCheck
from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.searchable import weights
from manticore.training.modules import FinetuneModule
from manticore.utils.module_state import trainable_only
from tests.helpers.pico import supernet, tokens

PATH = ["base", "donor", "base"]
OPTIONS = AdapterOptions("more", options={"blocks": 2, "rank": 2})


def bypass(net: nn.Module) -> str:
    """Let the result of one adapted layer not depend on its adapter, as a layer whose weight is read raw. Its name."""
    layer = next(each for each in adapted_layers(net) if each.name.endswith("q_proj"))
    layer.module._forward_hooks.clear()
    return layer.name


def fit(net: nn.Module, steps: int = 2) -> None:
    ids, mask = tokens()
    labels = ids.roll(-1, 1).masked_fill(mask == 0, -100)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    loader: DataLoader[Any] = DataLoader([batch] * steps, batch_size=None)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_steps=steps, limit_val_batches=0, accelerator="cpu", **quiet)  # type: ignore[arg-type]
    trainer.fit(FinetuneModule(net, {"warmup_steps": 0}, steps, loss=loss), loader)


def loss(net: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_a_dead_adapter_ends_a_training_and_is_named() -> None:
    net = discretize(supernet("gpt_neo", "mamba"), PATH)
    attach(net, OPTIONS)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    name = bypass(net)
    with pytest.raises(
        ManticoreError, match=f"1 of [0-9]+ adapters have no gradient after the first step, {name} first"
    ):
        fit(net)
    assert all(torch.equal(weight, before[key]) for key, weight in net.state_dict().items())


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_a_training_changes_adapters_and_projectors_alone_and_leaves_no_hooks() -> None:
    net = discretize(supernet("gpt_neo", "mamba"), PATH)
    attach(net, OPTIONS)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    fit(net)
    changed = {name for name, weight in net.state_dict().items() if not torch.equal(weight, before[name])}
    assert all(".adapter." in name or ".proj_" in name for name in changed)
    assert {name for name in before if name.endswith("adapter.B2")} <= changed
    segments = [stage.segment for stage in net.model.stages]
    assert not any(segment._forward_hooks for segment in segments)


def test_a_segment_off_the_path_is_checked_once_a_step_reaches_it() -> None:
    net = supernet("gpt_neo", "mamba")
    attach(net, OPTIONS)
    ids, _ = tokens()
    check = GradientCheck(net)
    check.start()

    def backward(path: list[str]) -> None:
        net.zero_grad()
        F.cross_entropy(net(ids, path=path)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        check.check()

    backward(PATH)
    assert check._pending  # the adapters of the other segments
    bypass(net.stages[1]["base"])
    backward(PATH)
    with pytest.raises(ManticoreError, match=r"stages.1.base.segment.*q_proj first"):
        backward(["donor", "base", "donor"])


def test_a_step_of_the_alphas_before_that_of_a_path_reaches_no_adapter() -> None:
    net = supernet("gpt_neo", "mamba")
    attach(net, OPTIONS)
    check = GradientCheck(net)
    check.start()
    ids, _ = tokens()

    def backward(parameters: list[nn.Parameter], path: list[str] | None) -> None:
        with trainable_only(net, parameters):
            out = net(ids, path=path)
            F.cross_entropy(out.flatten(0, 1), ids.roll(-1, 1).flatten()).backward()

    for alphas_first in (True, False):
        if alphas_first:
            backward(net.alphas, None)
        backward(weights(net), PATH)
        check.check()
    trained = {
        name for name in check._segments if name not in {name.partition(".backbone")[0] for name in check._pending}
    }
    assert trained == {f"stages.{stage}.{name}.segment" for stage, name in enumerate(PATH)}
