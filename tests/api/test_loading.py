"""`load` gives back whatever has a name or a folder, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import GPTNeoForCausalLM

import manticore as mc
from manticore.alignment.projector_set import ProjectorSet
from manticore.errors import ManticoreError, UnknownName
from manticore.utils import assets


def test_a_run_and_an_export(pico_run: Path) -> None:
    assert mc.load(pico_run).config.model_type == "manticore_hybrid"  # type: ignore[union-attr]
    assert mc.load(pico_run / "hybrid").config.model_type == "manticore_hybrid"  # type: ignore[union-attr]


def test_a_component_by_name_and_by_folder() -> None:
    assert isinstance(mc.load("gpt-neo-nano"), GPTNeoForCausalLM)
    assert isinstance(mc.load(assets.find("models", "gpt-neo-nano")), GPTNeoForCausalLM)


def test_a_projector_set_by_name_and_by_folder() -> None:
    name = assets.names("projectors")[0]
    assert isinstance(mc.load(name), ProjectorSet)
    assert isinstance(mc.load(assets.find("projectors", name)), ProjectorSet)


def test_a_supernet_of_pretrained_models_with_the_projectors_of_a_set() -> None:
    projectors = mc.load("nano-mamba-base")
    assert isinstance(projectors, ProjectorSet)
    space = mc.SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=projectors.stages)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    path = [projectors.base, *projectors.donors * (projectors.stages - 2), projectors.base]
    with torch.no_grad():
        aligned, plain = mc.supernet(space, "nano-mamba-base"), mc.supernet(replace(space, base=projectors.base))
        assert aligned.base == projectors.base == "mamba-nano"
        losses = [F.cross_entropy(net(ids, path=path)[0, :-1], ids[0, 1:]) for net in (aligned, plain)]
        component = mc.load(projectors.base)(ids).logits  # type: ignore[operator]
        torch.testing.assert_close(aligned(ids, path=[projectors.base] * projectors.stages), component)
    assert losses[0] < losses[1]


def test_a_model_object_without_a_next_token_head_is_refused() -> None:
    headless = mc.load("gpt-neo-nano").base_model  # type: ignore[union-attr]
    space = mc.SearchSpace([headless, "mamba-nano"], stages=2)
    with pytest.raises(
        ManticoreError, match="'GPTNeoModel' is a GPTNeoModel, which has no next-token head; give a caus"
    ):
        mc.supernet(space)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'gpt-neo-nano'"):
        mc.load("gpt-neo-nan")
    with pytest.raises(ManticoreError, match=f"no such model folder: {tmp_path}/nope"):
        mc.load(tmp_path / "nope")
    with pytest.raises(ManticoreError, match="holds no model: there is no config"):
        mc.load(tmp_path)
    (tmp_path / "recipe.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ManticoreError, match="is not finished; continue it: manticore search"):
        mc.load(tmp_path)


def test_a_supernet_of_a_list_of_components_and_its_parts() -> None:
    net = mc.supernet(["gpt-neo-nano", "mamba-nano"])
    assert (net.base, net.candidates, len(net.weights())) == ("gpt-neo-nano", ("gpt-neo-nano", "mamba-nano"), 4)


class Reversed(torch.nn.Linear):
    """An op that sees later tokens and does not say so."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        return super().forward(x_BLD.flip(1))


def test_ops_of_a_supernet_are_tested_before_any_training() -> None:
    with pytest.raises(ManticoreError, match="op 'reversed' is not causal: its output at a position depends on"):
        mc.supernet(["gpt-neo-nano", mc.Op("reversed", Reversed)])


def test_a_projector_set_of_another_kind_than_the_space_is_refused() -> None:
    space = mc.SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=5, projector="low-rank")
    with pytest.raises(ManticoreError, match=r"nano-mamba-base has projector linear.*, the search space low-rank"):
        mc.supernet(space, "nano-mamba-base")


SPACE = mc.SearchSpace(["gpt-neo", "mamba"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mc.load(3), "expected a folder, a name or a result, got 3"),  # type: ignore[arg-type]
        (lambda: mc.Result.load(None), "expected a folder, a name or a result, got None"),  # type: ignore[arg-type]
        (lambda: mc.supernet(3), r"components is a list, such as \['gpt-neo', 'mamba'\], not 3"),  # type: ignore[arg-type]
        (lambda: mc.supernet([1, 2]), "a component is a name, a folder or a Hugging Face model, not 1"),
        (lambda: mc.supernet(SPACE, 3), "a projector set is a name or a path, not 3"),  # type: ignore[arg-type]
        (lambda: mc.search(SPACE, "mad-compression", out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.search(SPACE, [f"text {n}" for n in range(9)], out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.compare(SPACE, "mad-compression", out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.transfer(SPACE, proxy="mad", task="lra-listops", out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.finetune("runs/mine", out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.export("runs/mine", out=3), "out must be a path, got 3"),  # type: ignore[arg-type]
        (lambda: mc.align("a text", ["gpt-neo-nano"], out="o"), "components is a list, .* not 'a text'"),
        (lambda: mc.align(["a text"], ["gpt-neo-nano"], out="o"), "a hybrid needs at least two components"),
        (lambda: mc.align(["It is", "a text"], "x", out="o"), "'It is' is a text, and not the name or the folder of a"),
        (
            lambda: mc.align(["gpt-neo-nano", "mamba-nano"], "It is " * 99, out="o"),
            "no such file or folder of text: 'It",
        ),
        (lambda: mc.generate("It is " * 999, "gpt-neo-nano"), "'It is It is .* is a text, and not the name or the"),
        (
            lambda: mc.Op("own", torch.nn.Sequential(torch.nn.Identity())),
            r"MyModule\); got an object of type Sequential",
        ),
    ],
)
def test_an_object_of_another_type_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "read", [mc.load, mc.Result.load, mc.evaluate, mc.report, lambda folder: mc.generate(folder, "It is")]
)
def test_an_unfinished_run_says_how_it_is_continued(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: {name: text}\n", encoding="utf-8")
    with pytest.raises(ManticoreError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"the run in {tmp_path} is not finished; continue it: manticore search --out {tmp_path} --resume"
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("finetune.json", "the fine-tuning in .* is not finished; the same command with --resume continues it"),
        ("pretrain.json", "the pretraining in .* is not finished; the same command with --resume continues it"),
        ("model/config.json", "is the folder of a pretraining; its model is .*model"),
    ],
)
def test_other_folders_of_runs_are_known(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("{}", encoding="utf-8")
    for read in (mc.load, mc.evaluate, lambda folder: mc.generate(folder, "It is")):
        with pytest.raises(ManticoreError, match=message):
            read(tmp_path)
