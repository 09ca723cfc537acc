"""A user's own family, task and projector work by name in the Python API, and their checkpoint loads elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import manticore as mc
from manticore.components import BlockSize, Family
from manticore.components.families import families
from manticore.errors import ManticoreError
from manticore.export.custom_code import PROJECTOR, custom_source
from manticore.kernels import uninstall
from manticore.modeling import segments
from manticore.modeling.projectors import PROJECTORS
from manticore.modeling.segments import BackboneLayout
from manticore.nas.relaxations import relaxations
from manticore.nas.strategies import strategies
from manticore.pipelines import export
from manticore.tasks.task import tasks
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e

LOADER = """
import sys, torch
sys.modules["manticore"] = None  # importing it is an error from here on
from transformers import AutoModelForSequenceClassification
folder = sys.argv[1]
ids, mask, want = torch.load(folder + "/../expected.pt")
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
with torch.no_grad():
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, want)
print("same")
"""


class Gated(nn.Module):
    """A projector of a user's own: a linear map with a gate for each feature."""

    def __init__(self, d_in: int, d_out: int, slope: float = 1.0) -> None:
        super().__init__()
        self.map = nn.Linear(d_in, d_out, bias=False)
        self.gate = nn.Parameter(torch.full((d_out,), slope))

    def forward(self, x_BLD: Tensor) -> Tensor:
        return F.softplus(self.gate) * self.map(x_BLD)


class SelfContained(nn.Linear):
    """A projector that imports a module and catches an error in its body."""

    def forward(self, x_BLD: Tensor) -> Tensor:
        import math as numbers

        try:
            return F.linear(x_BLD, self.weight) * numbers.sqrt(2)
        except RuntimeError as error:
            raise ValueError(str(error)) from None


def _olmo(size: BlockSize) -> dict[str, object]:
    return {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "intermediate_size": 2 * size.width,
    }


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The user's task, projector and family, for the time of one test."""
    mc.register.task(NAME)(which_end)
    mc.register.projector("gated")(Gated)
    mc.register.family("olmo")(Family(("olmo",), BackboneLayout("layers", "norm", "embed_tokens"), _olmo))
    yield
    tasks._items.pop(NAME, None)
    families._items.pop("olmo", None)
    PROJECTORS.pop("gated", None)


def test_family_task_and_projector_together_up_to_a_checkpoint_that_loads_without_manticore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = mc.SearchSpace(
        [{"source": "olmo", "init": "scratch"}, "mamba"],
        stages=2,
        base="mamba",
        projector="gated",
        projector_options={"slope": 0.5},
    )
    options = {**QUICK, "baselines": {"components": False, "uniform": False, "random": False}}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, **options)
    assert result.metrics.task == NAME
    assert result.architecture.projector == "gated"
    assert result.folder == tmp_path / "run"
    folder = tmp_path / "by-hand"
    export.run_from(result.folder, ["olmo", "mamba"], folder, Console(quiet=True))
    hybrid = mc.load(folder)
    assert any(isinstance(module, Gated) for module in hybrid.modules())
    ids, mask = torch.tensor([[3, 4, 5, 2], [4, 4, 2, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    uninstall()  # the other process has the kernels of transformers, which round differently
    monkeypatch.setattr(segments, "kernels", None)
    with torch.no_grad():
        torch.save((ids, mask, hybrid(input_ids=ids, attention_mask=mask).logits), tmp_path / "expected.pt")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", LOADER, str(folder)]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.strip() == "same"


def test_model_objects_are_components_and_are_saved(tmp_path: Path) -> None:
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, **rates))
    space = mc.SearchSpace([mc.ComponentSpec(name="mine", model=model), "mamba"], stages=2, base="mine")
    options = {**QUICK, "baselines": {"components": False, "uniform": False, "random": False}}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, **options)
    assert (tmp_path / "run.components" / "mine" / "model.safetensors").exists()
    assert result.metrics.components["mine"].width == 16
    again = mc.search(space, NAME, out=tmp_path / "run", quiet=True, resume=True, **options)
    assert again.metrics == result.metrics
    with pytest.raises(ManticoreError, match="is not empty"):
        mc.search(space, NAME, out=tmp_path / "run", quiet=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serch": {}}, "argument 'serch'. Did you mean 'search'"),
        ({"search": {"steps": -1}}, "search.steps must be a whole number of at least 1"),
        ({"config": "nowhere.yaml"}, "no such recipe file"),
        ({"task": "which-ends"}, "Did you mean 'which-end'"),
    ],
)
def test_a_refused_search_writes_nothing(options: dict[str, object], message: str, tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2))
    space = mc.SearchSpace([mc.ComponentSpec(name="mine", model=model), "mamba"], stages=2)
    with pytest.raises(ManticoreError, match=message):
        mc.search(space, **{"task": NAME, "out": tmp_path / "run", "quiet": True, **options})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_space_may_be_a_file_and_a_task_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("components: [gpt-neo, mamba]\nstages: 2\nbase: mamba\n")
    options = {**QUICK, "baselines": {"components": False, "uniform": False, "random": False}}
    task = {"name": NAME, "train": 60, "seed": 4}
    result = mc.search(file, task, out=tmp_path / "run", quiet=True, **options)
    assert result.architecture.base == "mamba"
    assert result.hybrid.config.num_labels == 2


def test_built_in_projectors_keep_their_names() -> None:
    with pytest.raises(ManticoreError, match="projector 'linear' is"):
        mc.register.projector("linear")(Gated)


def test_names_that_a_projector_imports_or_catches_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROJECTORS, "self-contained", SelfContained)
    assert "import math as numbers" in custom_source(PROJECTOR, "self-contained")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("task", "task 'mine' must be a function from TaskOptions to a Task, not 3"),
        ("task_info", "must be a function from TaskOptions to a TaskInfo"),
        ("family", "must be a Family"),
        ("strategy", "must be a subclass of manticore.nas.strategies.Strategy"),
        ("relaxation", "must be a function from alphas and a RelaxationContext"),
        ("regularizer", "must be a function from a weight and a schedule"),
        ("selector", "must be a function from a supernet and a SelectionContext"),
        ("metric", "must be a Metric"),
        ("projector", "must be a subclass of nn.Module"),
        ("head", "must be a subclass of manticore.modeling.heads.Head"),
        ("topology", "must be a subclass of manticore.modeling.wiring.Wiring"),
        ("op", "must be a class or function of a width"),
    ],
)
def test_an_object_of_another_type_is_not_registered(kind: str, message: str) -> None:
    decorator = getattr(mc.register, kind)
    with pytest.raises(ManticoreError, match=message):
        decorator("mine")(3)
    with pytest.raises(ManticoreError, match=rf'mc.register.{kind} takes a name, as in @mc.register.{kind}\("mine"\)'):

        @decorator
        class Bare:
            pass


@pytest.mark.parametrize("table", [tasks, families, strategies, relaxations], ids=lambda table: table.kind)
def test_a_taken_name_is_refused_and_a_newer_definition_wins(table: object) -> None:
    def make() -> object:
        class Mine:
            pass

        return Mine

    try:
        first, second = table.register("mine")(make()), table.register("mine")(make())  # type: ignore[attr-defined]
        assert table["mine"] is second is not first  # type: ignore[index]
        with pytest.raises(ManticoreError, match="'mine' is already registered"):
            table.register("mine")(Gated)  # type: ignore[attr-defined]
    finally:
        table._items.pop("mine")  # type: ignore[attr-defined]
