"""The race of `manticore bench search`: a step of the supernet against the steps of the models it is made of.

Every side is an optimizer step as a search takes it: forward, backward, clipping, Adam, same batch, same kernels. The
dense mixture is compared with the sum of the components' own steps, a sampled path with the dearer one's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore import kernels
from manticore.bench.timing import Thunk, race, ratio
from manticore.components import BlockSize, Component, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.experiment.environment import set_malloc_thresholds
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.optimizers import alpha_optimizer, weight_optimizer
from manticore.training.options import AlphaOptions, WeightOptions
from manticore.utils.module_state import trainable_only

DENSE, SAMPLED = 1.10, 1.15
"""What is promised: at most this many times the sum, and the dearer one."""

VOCAB, LABELS = 18, 10
"""Token ids and classes of ListOps."""

NAMES = ["gpt-neo", "mamba"]
_STAGES = 4


def components(width: int, layers: int, length: int) -> list[Component]:
    """A GPT-Neo and a Mamba of twice its layers, the paper's shape for ListOps."""
    attention = BlockSize(width=width, layers=layers, heads=8, intermediate_size=4 * width, window_size=256)
    scratch = Scratch(attention, BlockSize(width=width, layers=2 * layers, state_size=16), VOCAB, length)
    return [load(ComponentSpec(name, name, init="scratch"), scratch) for name in NAMES]


class _Alone(nn.Module):
    """A component as its own users train it: transformers' backbone, fed embeddings, and a head on the last token."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self.backbone = component.backbone
        self.head = nn.Linear(component.width, LABELS, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.backbone(input_ids=input_ids, use_cache=False)[0][:, -1])
        return out


def step(net: nn.Module, loss: Callable[[], Tensor], alphas: bool = False) -> Thunk:
    """One optimizer step by `loss`, as a search takes it: of all weights, or of the alphas alone."""
    named = [(name, p) for name, p in net.named_parameters() if (name == "alpha") == alphas]
    moving = [p for _, p in named]
    optimizer = alpha_optimizer(moving[0], AlphaOptions()) if alphas else weight_optimizer(named, WeightOptions())

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        with trainable_only(net, moving):
            loss().backward()
        torch.nn.utils.clip_grad_norm_(moving, 1.0)
        optimizer.step()

    return once


def race_steps(
    width: int, layers: int, batch: int, length: int, repeats: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Seconds of each kind of step, and the two ratios that are promised."""
    set_malloc_thresholds()  # as a search does
    torch.manual_seed(0)
    parts = components(width, layers, length)
    space = SearchSpace(NAMES, stages=_STAGES)
    net = Supernet(parts, space, "mamba", HeadSpec("classification", VOCAB, LABELS)).to(device).train()
    ids = torch.randint(3, VOCAB, (batch, length), device=device)
    labels = torch.randint(0, LABELS, (batch,), device=device)

    def racer(net: nn.Module, alphas: bool = False, **options: Any) -> Thunk:
        return step(net, lambda: F.cross_entropy(net(ids, **options), labels), alphas)

    sides = {part.name: racer(_Alone(part).to(device).train()) for part in parts}
    paths: Sequence[list[str]] = [[name] * _STAGES for name in NAMES] + [NAMES * (_STAGES // 2)]
    sides["dense mixture"] = racer(net)
    sides |= {f"path {','.join(path)}": racer(net, path=path) for path in paths}
    sides["alphas"] = racer(net, alphas=True)
    with kernels.installed():
        timings = race(sides, repeats, budget=600)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    dearer = max(NAMES, key=seconds.__getitem__)
    rows: list[dict[str, Any]] = []
    for name, taken in seconds.items():
        row: dict[str, Any] = {"step": name, "seconds": taken, "repeats": timings[name].repeats}
        if name in ("dense mixture", "alphas"):
            both = (timings[alone] for alone in NAMES)
            row |= {"against": "sum of both alone", "ratio": ratio(timings[name], *both)}
        elif name not in NAMES:
            row |= {"against": "dearer one alone", "ratio": ratio(timings[name], timings[dearer])}
        limit = {"dense mixture": DENSE, "alphas": None}.get(name, SAMPLED)
        if "ratio" in row and limit is not None:
            row |= {"promised": limit, "kept": row["ratio"] <= limit}
        rows.append(row)
    return rows
