"""Loading components: folders, hub ids, aliases, random weights; safetensors only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from manticore.components import Scratch, loading
from manticore.components.loading import load
from manticore.components.spec import ComponentSpec
from manticore.errors import ManticoreError, UnknownName
from tests.helpers.pico import ATTENTION, RECURRENT, ROWS, SCRATCH, component, tokens


@pytest.mark.parametrize("family", ROWS)
def test_a_saved_model_is_loaded_exactly(family: str, tmp_path: Path) -> None:
    model = component(family).model
    model.save_pretrained(tmp_path / "mine")
    loaded = load(ComponentSpec(str(tmp_path / "mine")), SCRATCH)
    assert (loaded.name, loaded.pretrained, loaded.source) == ("mine", True, str(tmp_path / "mine"))
    assert not loaded.model.training
    ids, mask = tokens()
    with torch.no_grad():
        assert torch.equal(
            loaded.model(input_ids=ids, attention_mask=mask).logits, model(ids, attention_mask=mask).logits
        )


def test_half_precision_is_loaded_as_fp32(tmp_path: Path) -> None:
    component("gpt2").model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert {p.dtype for p in load(ComponentSpec(str(tmp_path))).model.parameters()} == {torch.float32}


def test_an_alias_is_built_from_scratch_for_a_task_with_its_own_vocabulary() -> None:
    loaded = load(ComponentSpec("mamba"), SCRATCH)
    assert (loaded.source, loaded.pretrained, loaded.revision) == ("mamba (from scratch)", False, None)
    assert (loaded.width, loaded.depth, loaded.config.vocab_size) == (
        RECURRENT.width,
        RECURRENT.layers,
        SCRATCH.vocab_size,
    )
    assert load(ComponentSpec("gpt-neo"), SCRATCH).width == ATTENTION.width
    assert load(ComponentSpec("gpt-neo", size={"layers": 6}), SCRATCH).depth == 6


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize(
    ("spec", "source", "revision"),
    [
        (ComponentSpec("gpt-neo"), "EleutherAI/gpt-neo-125m", "21def0189f5705e2521767faed922f1f15e7d7db"),
        (ComponentSpec("gpt-neo", revision="other"), "EleutherAI/gpt-neo-125m", "other"),
        (ComponentSpec("someone/something"), "someone/something", None),
    ],
)
def test_the_hub_is_asked_once_for_the_pinned_revision(
    monkeypatch: pytest.MonkeyPatch, spec: ComponentSpec, source: str, revision: str | None, answers: bool
) -> None:
    requests = []

    def config(name: str, **options: object) -> None:
        requests.append((name, options["revision"], options["local_files_only"], options["trust_remote_code"]))
        raise OSError("not here")

    monkeypatch.setattr(loading, "hub_answers", lambda *_: answers)
    monkeypatch.setattr(loading.AutoConfig, "from_pretrained", config)
    with pytest.raises(ManticoreError, match=f"cannot get '{source}'.*local folder.*shipped.*HF_HOME"):
        load(spec)
    assert requests == [(source, revision, not answers, False)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ComponentSpec("gpt-nea"), "unknown model 'gpt-nea'. Did you mean 'gpt-neo'?"),
        (ComponentSpec("./nowhere"), "no such model folder: ./nowhere"),
        (ComponentSpec("gpt-nea", init="scratch"), "unknown model family for init: scratch 'gpt-nea'"),
        (ComponentSpec("gpt2", init="scratch", size={"heads": 3}), "width 32 is no multiple of its 3 heads"),
    ],
)
def test_unavailable_models_are_refused(spec: ComponentSpec, message: str) -> None:
    with pytest.raises(ManticoreError, match=message.replace("?", r"\?")):
        load(spec, SCRATCH if spec.init == "scratch" else None)


def test_from_scratch_needs_sizes() -> None:
    with pytest.raises(ManticoreError, match="needs a task with its own vocabulary"):
        load(ComponentSpec("mamba", init="scratch"))


def test_scratch_sizes_depend_on_the_mixer() -> None:
    scratch: Scratch = replace(SCRATCH, recurrent=replace(RECURRENT, layers=7))
    assert load(ComponentSpec("mamba2"), scratch).depth == 7
    assert load(ComponentSpec("pythia"), scratch).depth == ATTENTION.layers


def test_names_are_not_guessed() -> None:
    with pytest.raises(UnknownName):
        load(ComponentSpec("GPT-Neo"))
