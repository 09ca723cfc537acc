"""The side network of ladder side-tuning. This file needs torch and safetensors alone.

A copy of it, `adapter.py`, is in the folder of every trained ladder:

    import adapter
    adapter.load(model)  # the hybrid of the folder's base, such as AutoModelForCausalLM.from_pretrained(...) returns
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

RECORD, WEIGHTS = "adapter.json", "adapter_model.safetensors"
"""Files of the folder: sizes and the hash of the hybrid's stages, and the tensors."""

TEMPERATURE = 0.1
"""Divides the parameters of the gates."""


class SideNetwork(nn.Module):
    """Reads the stream before and after every stage of a hybrid, and adds to the stream before the final norm.

    With the normalized streams h_0, ..., h_S of width D, the width d of the side network and gates
    `g_s = sigmoid(a_s / 0.1)` (arXiv 2206.06522):

        z_0 = down_0 h_0
        z_s = block_s(g_s down_s h_s + (1 - g_s) z_{s-1})
        output = h_S + up z_S

    A block is a feed-forward layer on each token, `z + W_2 gelu(W_1 z)`; those of the paper are transformer layers.
    Since no token reads others, generation needs no further cache. `up` is 0 at first.

    Args:
        stages: S.
        stream: D.
        width: d.
        output: width of the stream that the final norm reads, at most D.
    """

    def __init__(self, stages: int, stream: int, width: int, output: int) -> None:
        super().__init__()
        self.sizes = {"stages": stages, "stream": stream, "width": width, "output": output}
        self.down = nn.ModuleList(nn.Linear(stream, width) for _ in range(stages + 1))
        self.inner = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(stages))
        self.outer = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(stages))
        self.gates = nn.Parameter(torch.zeros(stages))
        self.up = nn.Linear(width, output)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.states: list[Tensor] = []

    def forward(self, states: list[Tensor]) -> Tensor:
        """What is added to the stream, (B, L, output), from S + 1 streams (B, L, D)."""
        reduced = [down(F.layer_norm(h, h.shape[-1:])) for down, h in zip(self.down, states, strict=True)]
        z = reduced[0]
        for h, gate, inner, outer in zip(
            reduced[1:], (self.gates / TEMPERATURE).sigmoid(), self.inner, self.outer, strict=True
        ):
            z = gate * h + (1 - gate) * z
            z = z + outer(F.gelu(inner(z)))
        added: Tensor = self.up(z)
        return added

    def read_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Forward pre-hook of the first stage."""
        self.states = [args[0]]

    def read_output(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Forward hook of every stage."""
        self.states.append(output)

    def add(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Forward pre-hook of the final norm."""
        return (args[0] + self(self.states).to(args[0].dtype), *args[1:])

    def install(self, model: Any) -> None:
        """Put the side network on a hybrid with a head."""
        model.model.ladder = self
        stages = model.model.stages
        self._handles = [stages[0].register_forward_pre_hook(self.read_input)]
        self._handles += [stage.register_forward_hook(self.read_output) for stage in stages]
        self._handles.append(model.model.norm.register_forward_pre_hook(self.add))


def hash_stages(model: Any) -> str:
    """BLAKE2b of the bytes of the weights of all stages of a hybrid."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.model.stages.parameters():
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_ladder(model: Any, folder: Path) -> Any:
    """Put the side network of a folder on a hybrid. Returns the hybrid.

    Raises ValueError if its stages have other weights than those that the ladder was trained on, or it has a ladder.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if getattr(model.model, "ladder", None) is not None:
        raise ValueError("the hybrid has a ladder already")
    if hash_stages(model) != record["weights_hash"]:
        raise ValueError(f"{folder} is a ladder for other weights than the hybrid's")
    ladder = SideNetwork(**record["sizes"])
    ladder.load_state_dict(load_file(folder / WEIGHTS))
    ladder.to(next(model.parameters()))
    ladder.install(model)
    return model
