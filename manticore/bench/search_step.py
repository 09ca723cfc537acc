"""`manticore bench search`: an optimizer step of the supernet against the steps of its components alone.

Every step is one of a search: forward, backward, gradient clipping, Adam, on the same batch with the same kernels. The
dense mixture and the alphas are compared with the sum of the components' own steps, a sampled path with the slower one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore import kernels
from manticore.bench.timing import Thunk, race, ratio
from manticore.components import BlockSize, Component, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.experiment.environment import set_malloc_thresholds
from manticore.nas.options import AlphaOptions
from manticore.nas.space import SearchSpace
from manticore.nas.strategies.base import Strategy
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.optimizers import weight_optimizer
from manticore.training.options import WeightOptions
from manticore.utils.module_state import trainable_only

DENSE_LIMIT, SAMPLED_LIMIT = 1.10, 1.15
"""Largest ratio of the dense mixture to the sum of both components, and of a sampled path to the slower component."""

VOCAB, LABELS = 18, 10
"""Token ids and classes of ListOps."""

NAMES = ["gpt-neo", "mamba"]
_STAGES = 4


def components(width: int, layers: int, length: int) -> list[Component]:
    """A GPT-Neo and a Mamba with twice as many layers, as the paper has them for ListOps."""
    attention = BlockSize(width=width, layers=layers, heads=8, intermediate_size=4 * width, window_size=256)
    scratch = Scratch(attention, BlockSize(width=width, layers=2 * layers, state_size=16), VOCAB, length)
    return [load(ComponentSpec(name, name, init="scratch"), scratch) for name in NAMES]


class ComponentAlone(nn.Module):
    """A component as transformers runs it: token ids to backbone, and a head on the last token."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self.backbone = component.backbone
        self.head = nn.Linear(component.width, LABELS, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.backbone(input_ids=input_ids, use_cache=False)[0][:, -1])
        return out


@dataclass(frozen=True)
class StepTiming:
    """One kind of step.

    Attributes:
        step: name of a component, `dense mixture`, `path A,B,...` or `alphas`.
        seconds, repeats: median time and number of runs.
        ratio: time relative to that of `relative_to`; None for a component.
        limit: largest acceptable ratio, if there is one.
        limit_met: whether the ratio is within it.
    """

    step: str
    seconds: float
    repeats: int
    relative_to: str | None = None
    ratio: float | None = None
    limit: float | None = None
    limit_met: bool | None = None


def optimizer_step(net: nn.Module, loss: Callable[[], Tensor], alphas: bool = False) -> Thunk:
    """One optimizer step of a search: of all weights, or of the alphas alone.

    Args:
        net: the model; its alphas, if it has some, are the parameter `alpha`.
        loss: computes the loss of a batch.
        alphas: whether to train the alphas instead of the weights.
    """
    named = [(name, p) for name, p in net.named_parameters() if (name == "alpha") == alphas]
    trainable = [p for _, p in named]
    optimizer = (
        Strategy().alpha_optimizer(trainable, AlphaOptions()) if alphas else weight_optimizer(named, WeightOptions())
    )

    def thunk() -> None:
        optimizer.zero_grad(set_to_none=True)
        with trainable_only(net, trainable):
            loss().backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()

    return thunk


def time_search_step(
    width: int, layers: int, batch: int, length: int, repeats: int, device: str = "cpu"
) -> list[StepTiming]:
    """Time each kind of step in turns.

    Args:
        width: features of both components.
        layers: layers of GPT-Neo; Mamba has twice as many.
        batch: sequences.
        length: tokens of a sequence.
        repeats: timed runs of each kind.
        device: `cpu` or `cuda`.
    """
    set_malloc_thresholds()  # as a search does
    torch.manual_seed(0)
    parts = components(width, layers, length)
    space = SearchSpace(NAMES, stages=_STAGES)
    supernet = Supernet(parts, space, "mamba", HeadSpec("classification", VOCAB, LABELS)).to(device).train()
    ids_BL = torch.randint(3, VOCAB, (batch, length), device=device)
    labels_B = torch.randint(0, LABELS, (batch,), device=device)

    def step_of(net: nn.Module, alphas: bool = False, **options: Any) -> Thunk:
        return optimizer_step(net, lambda: F.cross_entropy(net(ids_BL, **options), labels_B), alphas)

    thunks = {part.name: step_of(ComponentAlone(part).to(device).train()) for part in parts}
    thunks["dense mixture"] = step_of(supernet)
    for path in [[name] * _STAGES for name in NAMES] + [NAMES * (_STAGES // 2)]:
        thunks[f"path {','.join(path)}"] = step_of(supernet, path=path)
    thunks["alphas"] = step_of(supernet, alphas=True)
    with kernels.installed():
        timings = race(thunks, repeats, budget=600)
    slower = max(NAMES, key=lambda name: timings[name].seconds)
    rows = []
    for name, timing in timings.items():
        comparison: dict[str, Any] = {}
        if name in ("dense mixture", "alphas"):
            value = ratio(timing, *(timings[component] for component in NAMES))
            comparison = {"relative_to": "sum of both components", "ratio": value}
        elif name not in NAMES:
            comparison = {"relative_to": "slower component", "ratio": ratio(timing, timings[slower])}
        if comparison and name != "alphas":
            limit = DENSE_LIMIT if name == "dense mixture" else SAMPLED_LIMIT
            comparison |= {"limit": limit, "limit_met": comparison["ratio"] <= limit}
        rows.append(StepTiming(name, timing.seconds, timing.repeats, **comparison))
    return rows
