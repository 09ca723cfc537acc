"""A stand-in for vLLM's Transformers backend: it calls the backbone as that does, with its attention and configuration.

It replaces transformers' attention by objects that it builds from the configuration, one for each layer. They find the
sequences of a batch, which stand behind one another in one row without a mask, by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from manticore.export.checkpoint import save_checkpoint
from manticore.nas.discretize import discretize
from tests.helpers.ops import ATTENTION as OP
from tests.helpers.ops import op_supernet
from tests.helpers.pico import supernet, tokens


@dataclass
class Attention:
    """Causal attention of one layer over the sequences of a batch, with the sizes of the configuration."""

    heads: int
    keys: int
    width: int
    window: int | None
    cap: float | None
    lengths: list[int]
    scale: float = field(default=0.0, init=False)
    calls: int = field(default=0, init=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(T, heads * width) of the T tokens of all sequences."""
        self.calls += 1
        outputs = []
        for q, k, v in zip(*(x.split(self.lengths) for x in (query, key, value)), strict=True):
            q = q.view(len(q), self.heads, self.width).transpose(0, 1)
            k, v = (x.view(len(x), self.keys, self.width).transpose(0, 1) for x in (k, v))
            k, v = (x.repeat_interleave(self.heads // self.keys, 0) for x in (k, v))
            scores = q @ k.mT * self.scale
            scores = scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)
            distance = torch.arange(len(q[0]))[:, None] - torch.arange(len(q[0]))
            seen = (distance >= 0) if self.window is None else (distance >= 0) & (distance < self.window)
            out = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
            outputs.append(out.transpose(0, 1).flatten(1))
        return torch.cat(outputs)


def backend_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    attention_instances: dict[int, Attention] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    assert attention_instances is not None
    assert attention_mask is None
    layer = attention_instances[module.layer_idx]  # type: ignore[index]
    layer.scale = float(scaling) if scaling is not None else layer.width**-0.5
    return layer.forward(*(x.transpose(1, 2).reshape(x.shape[2], -1) for x in (query, key, value))), None


ALL_ATTENTION_FUNCTIONS.register("stand-in", backend_attention)


def serve(folder: Path, sequences: list[Tensor]) -> list[Tensor]:
    """Logits of each sequence, by the backbone and the head in a folder."""
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = "stand-in"
    model = AutoModel.from_config(config).eval()
    whole = AutoModelForCausalLM.from_pretrained(folder)
    model.load_state_dict(whole.model.state_dict())  # names of weights begin with `model.`
    assert type(model).is_backend_compatible()
    lengths = [len(ids) for ids in sequences]
    layers = {}
    for index in range(config.num_hidden_layers):
        sliding = hasattr(config, "layer_types") and config.layer_types[index] == "sliding_attention"
        layers[index] = Attention(
            config.num_attention_heads,
            getattr(config, "num_key_value_heads", config.num_attention_heads),
            getattr(config, "head_dim", config.hidden_size // config.num_attention_heads),
            config.sliding_window if sliding else None,
            getattr(config, "attn_logit_softcapping", None),
            lengths,
        )
    embeds = model.get_input_embeddings()(torch.cat(sequences))
    (h_1TD,) = model(
        input_ids=None,
        inputs_embeds=embeds[None],
        use_cache=False,
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        attention_instances=layers,
        return_dict=False,
    )
    assert [layer.calls for layer in layers.values()] == [1] * config.num_hidden_layers
    logits = whole.lm_head(h_1TD[0]) * getattr(config, "logit_scale", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return list(logits.split(lengths))


def hybrid(base: str, donor: str, **space: object) -> PreTrainedModel:
    return discretize(supernet(base, donor, **space), ["base", "donor", "base"])


@pytest.mark.parametrize(
    ("base", "donor"),
    [("llama", "gpt_neox"), ("gpt_neox", "llama"), ("mistral", "smollm3"), ("granite", "olmo3"), ("gemma2", "gemma2")],
)
@torch.no_grad()
def test_a_path_of_attention_runs_with_the_attention_of_a_backend(base: str, donor: str, tmp_path: Path) -> None:
    model = hybrid(base, donor)
    folder = save_checkpoint(model, None, tmp_path / "out", "# A hybrid\n")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "vLLM's Transformers backend runs: `vllm serve . --trust-remote-code --model-impl transformers`" in card
    ids, _ = tokens()
    sequences = [ids[0], ids[1, :5], ids[2, :11]]
    for sequence, logits in zip(sequences, serve(folder, sequences), strict=True):
        torch.testing.assert_close(logits, model(input_ids=sequence[None]).logits[0], atol=3e-5, rtol=0)


@pytest.mark.parametrize(
    ("model", "obstacle"),
    [
        (lambda: hybrid("llama", "mamba"), "'donor' is recurrent (mamba)"),
        (lambda: hybrid("llama", "gpt_neo"), "'donor' has an attention of its own (gpt_neo)"),
        (lambda: hybrid("gpt2", "llama"), "'base' has an attention of its own (gpt2)"),
        (lambda: hybrid("llama", "qwen3"), "'donor' has heads of another size than the stages before it"),
        (lambda: hybrid("qwen3", "gemma2"), "'donor' has heads of another size than the stages before it"),
        (
            lambda: discretize(op_supernet("llama", "gpt2"), ["base", OP, "base"]),
            "'attn' is an op, which would see all sequences",
        ),
    ],
)
def test_other_paths_are_refused_by_the_card_and_by_the_model(model: Any, obstacle: str, tmp_path: Path) -> None:
    folder = save_checkpoint(model(), None, tmp_path / "out", "")
    assert f"vLLM does not run this hybrid: {obstacle}" in (folder / "README.md").read_text(encoding="utf-8")
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = "stand-in"
    with pytest.raises(ValueError, match="a hybrid with attn_implementation=stand-in must be of attention alone"):
        AutoModel.from_config(config)
