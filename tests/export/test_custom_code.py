"""A user's own head and topology are embedded in the checkpoint with what they use, or refused in one line."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import manticore as mc
from manticore.errors import ManticoreError
from manticore.export.checkpoint import save_checkpoint
from manticore.export.custom_code import HEAD, TOPOLOGY, check_exportable, custom_source
from manticore.kernels import uninstall
from manticore.modeling import segments
from manticore.modeling.branches import BaseBranch, BranchSpec, DonorBranch
from manticore.modeling.heads import HEADS, Head
from manticore.modeling.modeling_manticore import HybridForSequenceClassification
from manticore.modeling.segments import Context
from manticore.modeling.wiring import TOPOLOGIES, ResidualWiring, Wiring, topology
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, supernet, tokens

LOADER = """
import sys, torch
sys.modules["manticore"] = None  # importing it is an error from here on
from transformers import AutoModelForSequenceClassification
ids, want = torch.load("expected.pt")
model = AutoModelForSequenceClassification.from_pretrained("hybrid", trust_remote_code=True)
assert type(model.score).__name__ == "MeanHead", type(model.score)
assert type(model.model.stages[1]).__name__ == "StitchBranch"
with torch.no_grad():
    assert torch.equal(model(input_ids=ids).logits, want)
print("same")
"""


def mean_of(h_BLD: Tensor) -> Tensor:
    """A helper in the user's file."""
    return h_BLD.mean(1)


class MeanHead(Head):
    """One label from the mean of all states."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, labels)

    def init_output(self) -> None:
        nn.init.normal_(self.out.weight, std=0.02)

    @staticmethod
    def select_states(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        return mean_of(h_BLD)

    def forward(self, x: Tensor, length: int) -> Tensor:
        out: Tensor = self.out(x)
        return out


class StitchBranch(DonorBranch):
    """`y = Q(Segment(P h))`, as in model stitching."""

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        out: Tensor = self.proj_out(self.segment(self.proj_in(h_BLD), context, self.stage))
        return torch.sigmoid(out)


class StitchWiring(Wiring):
    """Donor stages replace the stream."""

    def branch(self, spec: BranchSpec, searching: bool = False) -> nn.Module:
        return BaseBranch(spec) if spec.name == spec.base else StitchBranch(spec)


ROOT_OF_TWO = math.sqrt(2)


class MathHead(MeanHead):
    """Uses an assignment of its file, and through it the standard library."""

    def forward(self, x: Tensor, length: int) -> Tensor:
        return super().forward(x, length) * ROOT_OF_TWO


class NumpyHead(MeanHead):
    """Uses a package that checkpoints do not need."""

    def forward(self, x: Tensor, length: int) -> Tensor:
        return super().forward(x, length) * float(np.sqrt(2))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The user's classes, for the time of one test."""
    mc.register.head("mean")(MeanHead)
    topology("stitched")(StitchWiring)
    yield
    for table, name in ((HEADS, "mean"), (HEADS, "math"), (HEADS, "numpy"), (TOPOLOGIES, "stitched")):
        table.pop(name, None)


@pytest.mark.e2e
def test_a_checkpoint_with_a_users_head_and_topology_loads_without_manticore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = supernet("gpt2", "mamba", HeadSpec("mean", VOCAB, 4))
    hybrid = discretize(net, ["base", "donor", "base"], num_labels=4)
    assert isinstance(hybrid, HybridForSequenceClassification)
    hybrid.config.topology = "stitched"
    hybrid = HybridForSequenceClassification(hybrid.config).eval()
    save_checkpoint(hybrid, None, tmp_path / "hybrid", "")
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    ids, _ = tokens()
    with torch.no_grad():
        torch.save((ids, hybrid(input_ids=ids).logits), tmp_path / "expected.pt")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    process = subprocess.run(
        [sys.executable, "-c", LOADER], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.strip() == "same"


def test_definitions_that_a_class_uses_precede_it() -> None:
    source = custom_source(HEAD, "mean")
    assert 0 <= source.index("def mean_of") < source.index("@head('mean')\nclass MeanHead(Head)")
    source = custom_source(TOPOLOGY, "stitched")
    assert 0 <= source.index("class StitchBranch") < source.index("@topology('stitched')")
    check_exportable("linear", "stitched", "mean")
    check_exportable("linear", "residual", "lm")


def test_imports_of_the_runtime_and_assignments_precede_the_class() -> None:
    mc.register.head("math")(MathHead)
    source = custom_source(HEAD, "math")
    assert 0 <= source.index("import math") < source.index("ROOT_OF_TWO = math.sqrt(2)") < source.index("@head('math')")
    namespace = {**vars(HEAD.module)}
    exec(f"from __future__ import annotations\n{source}", namespace)
    x = torch.ones(2, 4)
    copied, own = namespace["MathHead"](4, 3), MathHead(4, 3)
    copied.load_state_dict(own.state_dict())
    assert torch.equal(copied(x, 1), own(x, 1))


def test_a_name_that_a_checkpoint_does_not_have_is_refused() -> None:
    mc.register.head("numpy")(NumpyHead)
    with pytest.raises(ManticoreError, match=r"head 'numpy' uses 'np', which an exported checkpoint does not have"):
        check_exportable("linear", "residual", "numpy")


def test_a_class_without_source_or_with_a_taken_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOPOLOGIES, "typed", type("Typed", (ResidualWiring,), {"__module__": "__main__"}))
    with pytest.raises(ManticoreError, match="the source of topology 'typed' cannot be found"):
        check_exportable("linear", "typed")

    class TokenHead(MeanHead):
        """Has the name of a built-in class."""

    monkeypatch.setitem(HEADS, "mean", TokenHead)
    with pytest.raises(ManticoreError, match=r"head 'mean' needs 'TokenHead', a name in manticore\.modeling\.heads"):
        check_exportable("linear", "residual", "mean")


def test_built_in_classes_are_not_embedded_and_keep_their_names() -> None:
    assert custom_source(HEAD, "pair") == custom_source(TOPOLOGY, "hub") == ""
    with pytest.raises(ManticoreError, match="head 'pair' is already registered"):
        mc.register.head("pair")(MeanHead)


def test_an_unregistered_head_or_topology_is_named() -> None:
    hybrid = discretize(supernet("gpt2", "mamba", HeadSpec("mean", VOCAB, 4)), ["base"] * 3, num_labels=4)
    HEADS.pop("mean")
    with pytest.raises(ValueError, match="head 'mean' is not registered in this process"):
        HybridForSequenceClassification(hybrid.config)
    hybrid.config.topology = "ring"
    with pytest.raises(ValueError, match="topology 'ring' is not registered in this process"):
        HybridForSequenceClassification(hybrid.config)
