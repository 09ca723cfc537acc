"""`export --native`: a path of the base's layers alone is a model of the base's own class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import manticore as mc
from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.export.native import native_model
from manticore.kernels import installed
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import CONV, op_supernet
from tests.helpers.pico import ROWS, VOCAB, component, supernet, tokens


@pytest.mark.parametrize("family", [name for name in ROWS if not name.startswith("twin_")])
@torch.no_grad()
def test_a_path_of_base_and_skip_is_a_shorter_model_of_the_base(family: str, tmp_path: Path) -> None:
    net = supernet(family, "gpt2" if family != "gpt2" else "mamba", skip=True)
    hybrid = discretize(net, ["base", SKIP, "base"], eos_token_id=2)
    native_model(hybrid).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(net.components["base"].model)
    assert loaded.config.num_hidden_layers == hybrid.config.num_hidden_layers < net.components["base"].depth
    assert loaded.config.eos_token_id == 2
    ids, _ = tokens()
    with installed():
        assert torch.equal(loaded(input_ids=ids).logits, hybrid(input_ids=ids).logits)


@torch.no_grad()
def test_without_a_base_the_norm_is_that_of_the_last_segment() -> None:
    hybrid = discretize(supernet("gpt_neo", "mamba", topology="hub"), ["base"] * 3)
    ids, _ = tokens()
    with installed():
        assert torch.equal(native_model(hybrid)(input_ids=ids).logits, hybrid(input_ids=ids).logits)


@torch.no_grad()
def test_donors_that_differ_in_their_weights_alone_are_layers_of_the_base() -> None:
    """Two fine-tuned versions of a model, joined without projectors."""
    parts = [component("smollm3", "one"), component("smollm3", "two")]
    space = SearchSpace(["one", "two"], stages=3, projector="identity")
    hybrid = discretize(Supernet(parts, space, "one", HeadSpec()).eval(), ["one", "two", "one"])
    native, (ids, _) = native_model(hybrid), tokens()
    torch.testing.assert_close(native(input_ids=ids).logits, hybrid(input_ids=ids).logits, atol=1e-5, rtol=0)
    assert not torch.allclose(native(input_ids=ids).logits, parts[0].model(input_ids=ids).logits, atol=1e-2)


@pytest.mark.parametrize(
    ("family", "path", "reason"),
    [
        ("nemotron_h", [SKIP, "base", "base"], "none of them has attention"),
        ("olmo_hybrid", [SKIP, "base", "base"], "none of them has attention"),
        ("olmo_hybrid", ["base", SKIP, SKIP], "its class needs a recurrent layer"),
    ],
)
def test_a_class_of_two_kinds_of_layers_needs_them(family: str, path: list[str], reason: str) -> None:
    hybrid = discretize(supernet(family, "gpt2", skip=True), path)
    with pytest.raises(ManticoreError, match=f"are no {family} by themselves: {reason}"):
        native_model(hybrid)


def test_other_paths_are_refused_with_what_is_allowed() -> None:
    path = ["base", "donor", "base"]

    def message(hybrid: torch.nn.Module) -> str:
        with pytest.raises(ManticoreError) as raised:
            native_model(hybrid)
        return str(raised.value)

    allowed = "allowed are stages of the base, skip, and donors of the base's configuration with projector=identity"
    text = message(discretize(supernet("llama", "mamba"), path))
    assert text == f"stage 2 runs 'donor', a mamba, and the base 'base' is a llama; {allowed}"
    assert "projectors of the kind linear" in message(discretize(supernet("mamba", "mamba"), path))
    assert "absolute positions" in message(discretize(supernet("gpt2", "gpt2", projector="identity"), path))
    assert "an op, which no family has" in message(discretize(op_supernet(), [CONV, "base", "base"]))
    assert "all stages are skipped" in message(discretize(supernet("mamba", "gpt2", skip=True), [SKIP] * 3))
    labelled = discretize(supernet("mamba", "gpt2", HeadSpec("tokens", VOCAB, 3)), ["base"] * 3, num_labels=3)
    assert "only language models" in message(labelled)
    parts = [component("mamba", "one"), component("mamba", "two", state_size=4)]
    net = Supernet(parts, SearchSpace(["one", "two"], stages=3, projector="identity"), "one", HeadSpec())
    assert "has another state_size than the base" in message(discretize(net, ["one", "two", "one"]))


def test_the_command_writes_a_folder_without_code(tmp_path: Path) -> None:
    for name in ("one", "two"):
        component("llama" if name == "one" else "mamba", name).model.save_pretrained(tmp_path / name)
    models = [tmp_path / "one", tmp_path / "two"]
    out = mc.export(models=models, path=["one", "skip", "one"], out=tmp_path / "out", native=True, quiet=True)
    assert AutoConfig.from_pretrained(out).model_type == "llama"
    assert not list(out.glob("*.py"))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "written as a `LlamaForCausalLM`" in card
    assert "trust_remote_code" not in card
    with pytest.raises(ManticoreError, match="stage 2 runs 'two'"):
        mc.export(models=models, path=["one", "two"], out=tmp_path / "no", native=True, quiet=True)
    assert not (tmp_path / "no").exists()
