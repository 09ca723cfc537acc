"""Very small components of real Hugging Face classes, shared by tests."""

from __future__ import annotations

import torch

from manticore.components import BlockSize, Component, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.tasks.task import HeadSpec

FAMILIES = ("gpt_neo", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "mamba", "mamba2")
VOCAB = 61
ATTENTION = BlockSize(width=32, layers=4, heads=4, window_size=6)
RECURRENT = BlockSize(width=24, layers=5, state_size=8)
SCRATCH = Scratch(ATTENTION, RECURRENT, VOCAB, 64)


def component(family: str, name: str = "", **size: int) -> Component:
    """A randomly initialized component of a family of the table, or of a Llama-like model type."""
    torch.manual_seed(hash_of(family + name))
    name = name or family
    if family in ("mistral", "qwen2", "qwen3"):
        return load(ComponentSpec(name=name, model=_llama_like(family)))
    loaded = load(ComponentSpec(family, name, init="scratch", size=size), SCRATCH)
    loaded.model.eval()
    return loaded


def _llama_like(model_type: str) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if model_type != "qwen2":
        options["head_dim"] = 8
    if model_type == "mistral":
        options["sliding_window"] = 6
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **options)).eval()


def hash_of(text: str) -> int:
    """A small integer that is the same in every process."""
    return sum(ord(letter) * (index + 1) for index, letter in enumerate(text))


def supernet(base: str, donor: str, head_spec: HeadSpec | None = None, **space: object) -> Supernet:
    """A supernet of two families, named `base` and `donor`."""
    components = [component(base, "base"), component(donor, "donor")]
    options = {"stages": 3, **space}
    net = Supernet(components, SearchSpace(["base", "donor"], **options), "base", head_spec or HeadSpec())
    torch.manual_seed(0)
    with torch.no_grad():  # not the identity, so that a result without projectors differs
        for name, parameter in net.named_parameters():
            if is_projector_weight(name):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def tokens(batch: int = 3, length: int = 17, pad_left: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids (B, L) and a mask whose first sequence is padded on the left."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCAB, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[0, :pad_left] = 0
    return ids, mask
