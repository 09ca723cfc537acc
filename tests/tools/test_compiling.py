"""torch.compile and torch.export of hybrids without a cache, which see transformers' own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, tokens

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of torch
PAIRS = [("gpt2", "mamba2"), ("mamba", "gpt_neo")]


def hybrid(base: str, donor: str) -> PreTrainedModel:
    parts = [component(base, "base", layers=2), component(donor, "donor", layers=2)]
    space = SearchSpace(["base", "donor"], stages=2)
    return discretize(Supernet(parts, space, "base", HeadSpec()).eval(), ["base", "donor"])


@torch.no_grad()
def test_three_lengths_are_compiled_at_most_three_times() -> None:
    """As one graph, which is compiled again for a second length, and then for all."""
    model, (ids, _) = hybrid("mamba", "gpt_neo"), tokens()
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for length in (17, 9, 13):
        logits = compiled(input_ids=ids[:, :length], use_cache=False).logits
        torch.testing.assert_close(logits, model(input_ids=ids[:, :length]).logits, atol=2e-5, rtol=0)
    assert len(graphs) <= 3


@pytest.mark.parametrize(("base", "donor", "dynamic"), [("gpt2", "gpt_neo", True), *((*pair, False) for pair in PAIRS)])
@torch.no_grad()
def test_an_exported_program_has_the_same_logits(base: str, donor: str, dynamic: bool) -> None:
    """Of attention for any length, with recurrent stages for that of the example, because the scan is unrolled."""
    model, (ids, _) = hybrid(base, donor), tokens()
    shapes = {"input_ids": {1: torch.export.Dim("tokens", min=4, max=32)}, "use_cache": None} if dynamic else None
    inputs = {"input_ids": ids, "use_cache": False}
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False).module()
    for length in (17, 9) if dynamic else (17,):
        logits = program(input_ids=ids[:, :length], use_cache=False).logits
        torch.testing.assert_close(logits, model(input_ids=ids[:, :length]).logits, atol=2e-5, rtol=0)


@torch.no_grad()
def test_onnx_of_a_hybrid_has_the_same_logits() -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime, which is in the extra dev")
    model, (ids, _) = hybrid("mamba2", "gpt_neo"), tokens()
    program = torch.onnx.export(model, (), kwargs={"input_ids": ids, "use_cache": False}, dynamo=True)
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    (logits, *_) = session.run(None, {session.get_inputs()[0].name: ids.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(input_ids=ids).logits, atol=2e-5, rtol=0)
