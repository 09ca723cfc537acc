"""Ladder side-tuning: gradients end in the side network, cached streams give the same loss, and it is kept beside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from manticore.adapters.attach import attach, trained_parameters
from manticore.adapters.ladder import CachedLadderLoss, detach_ladder, ladder_of
from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError
from manticore.export.load import load_hybrid
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.tasks.task import HeadSpec
from tests.adapters.test_attach import logits, step
from tests.adapters.test_commands import PLAINLY, changed, finetune, weights
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.pico import VOCAB, component, supernet, tokens

LADDER = AdapterOptions("ladder", options={"reduction": 4})
PATH = ["base", "donor", "base"]
COMMAND = ["--adapter", "ladder", "--keep-adapter", "--set", "adapter.options.reduction=2"]


def laddered(family: str = "mamba") -> PreTrainedModel:
    net = discretize(supernet("gpt_neo", family), PATH)
    attach(net, LADDER)
    return net


def batch(net: Any) -> dict[str, Tensor]:
    ids, mask = tokens()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.roll(-1, 1).masked_fill(mask == 0, -100)}


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "mamba", "mamba2"])
def test_a_step_trains_the_side_network_without_a_backward_pass_through_the_stages(family: str) -> None:
    net = discretize(supernet("gpt_neo", family), PATH)
    before = logits(net).detach()
    attach(net, LADDER)
    torch.testing.assert_close(logits(net), before)
    ladder = ladder_of(net)
    assert ladder is not None
    assert all(name.startswith("model.ladder.") for name, _ in named_weights(net))
    assert trained_parameters(net) == sum(parameter.numel() for parameter in ladder.parameters())
    logits(net)
    assert not any(state.requires_grad for state in ladder.states)
    step(net)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ladder.parameters())
    after = logits(net).detach()
    assert not torch.allclose(after, before, atol=1e-3)
    detach_ladder(net)
    torch.testing.assert_close(logits(net), before)


def test_cached_streams_give_the_loss_and_the_gradients_of_a_forward_pass() -> None:
    net = laddered()
    step(net)
    data, loss = batch(net), CachedLadderLoss(2**20)
    net.zero_grad()
    expected = F.cross_entropy(logits(net).flatten(0, 1), data["labels"].flatten())
    expected.backward()
    gradients = [parameter.grad.clone() for _, parameter in named_weights(net) if parameter.grad is not None]
    for _ in range(2):
        net.zero_grad()
        value = loss(net, data)
        value.backward()
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=0)
        for (_, parameter), gradient in zip(named_weights(net), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    rows = len(data["input_ids"])
    assert loss.misses == rows
    nothing = CachedLadderLoss(0)
    for _ in range(2):
        torch.testing.assert_close(nothing(net, data), expected, atol=1e-5, rtol=0)
    assert (nothing.misses, nothing.size) == (2 * rows, 0)


def test_generation_with_a_cache_is_that_without() -> None:
    net = laddered()
    step(net)
    ids = torch.randint(1, VOCAB, (1, 5))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(net.generate(ids, use_cache=True, **options), net.generate(ids, use_cache=False, **options))


def test_the_head_of_a_labelled_task_is_trained_too() -> None:
    net = discretize(supernet("gpt_neo", "mamba", HeadSpec("classification", VOCAB, 3)), PATH)
    attach(net, LADDER)
    names = {name for name, _ in named_weights(net) if not name.startswith("model.ladder.")}
    assert names == {"score.weight"}


def test_what_a_ladder_is_not_for_is_refused() -> None:
    for net in (component("gpt_neo").model, supernet("gpt_neo", "mamba")):
        with pytest.raises(ManticoreError, match="a ladder is for the fine-tuning of hybrids"):
            attach(net, LADDER)
    with pytest.raises(ManticoreError, match=r"adapter.targets does not go with ladder"):
        attach(discretize(supernet("gpt_neo", "mamba"), PATH), AdapterOptions("ladder", ("q_proj",)))
    net = laddered()
    for name in ("ladder", "more"):
        with pytest.raises(ManticoreError, match="has adapters already"):
            attach(net, AdapterOptions(name))


def test_a_finetuning_keeps_the_ladder_beside_the_weights(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    assert "add --keep-adapter" in refusal(capsys, *finetune(pico_run, tmp_path / "no", *COMMAND[:2]))
    assert "use it with manticore finetune" in refusal(capsys, "search", *PICO, *COMMAND[:2], "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    status, text, err = call(capsys, *finetune(pico_run, tmp_path / "out", *COMMAND))
    assert (status, err) == (0, "")
    assert "adapter: ladder beside" in text
    names = changed(weights(pico_run), weights(tmp_path / "out"))
    assert all(name.startswith("score.") for name in names)
    model = load_hybrid(tmp_path / "out")
    ladder = ladder_of(model)
    assert ladder is not None
    assert ladder.up.weight.any()
    ids, _ = tokens()
    ids %= model.config.vocab_size
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.save((ids, expected), tmp_path / "out" / "expected.pt")
    folder = tmp_path / "out" / "hybrid"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAINLY, str(folder), "own"], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "has a ladder already" in process.stdout
    arguments = ("export", pico_run, "--adapters", tmp_path / "out", "--out", tmp_path / "both")
    assert "train each from the same hybrid" in refusal(capsys, *arguments)
    state = load_file(folder / "model.safetensors")
    state[next(name for name in state if ".segment." in name)] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "is a ladder for other weights" in refusal(capsys, "evaluate", tmp_path / "out")
