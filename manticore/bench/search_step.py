"""`manticore bench search`: time of a search step relative to steps of its components alone, and its peak memory.

A step is forward, backward, gradient clipping and Adam, on the same batch with the same kernels. Steps of the dense
mixture, of the alphas and of every registered strategy, which may have several such updates, are compared with the sum
of the components' own steps; a step of a sampled path is compared with the slower component.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore import kernels
from manticore.bench.activations import peak_activations
from manticore.bench.strategy_steps import strategy_steps
from manticore.bench.timing import Thunk, Timing, race, ratio_of_fastest
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

SECOND_ORDER_LIMIT, SAMPLED_MEMORY_LIMIT = 3.2, 0.6
"""Largest ratio of a step of second order to one of first order, and of a path's memory to the dense mixture's."""

MEMORY_STEPS = 3
"""Number of steps whose memory is measured; the maximum is reported, because sampled paths differ between steps."""

FIRST_ORDER, SECOND_ORDER, DENSE = "darts", "darts-second-order", "dense mixture"

VOCAB, LABELS = 18, 10
"""Token ids and classes of ListOps."""

NAMES = ["gpt-neo", "mamba"]
_STAGES = 4


def components(width: int, layers: int, length: int) -> list[Component]:
    """A GPT-Neo and a Mamba with twice as many layers, as in the paper's experiment on ListOps."""
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
        step: name of a component, `dense mixture`, `path A,B,...`, `alphas`, or the name of a strategy.
        kind: `component`, `supernet` or `strategy`.
        seconds, repeats: time of the fastest run, and number of runs; None and 0 if the strategy cannot search here.
        relative_to, ratio: name of the time that it is divided by, and the quotient; None for a component.
        limit, limit_met: largest acceptable ratio, if there is one, and whether the ratio is within it.
        activation_bytes: `peak_activations` of the step, the largest of `MEMORY_STEPS`.
        memory_share: activation_bytes as a share of the dense mixture's.
        note: the reason why a strategy cannot search the supernet.
    """

    step: str
    kind: Literal["component", "supernet", "strategy"]
    seconds: float | None = None
    repeats: int = 0
    relative_to: str | None = None
    ratio: float | None = None
    limit: float | None = None
    limit_met: bool | None = None
    activation_bytes: int | None = None
    memory_share: float | None = None
    note: str = ""


@dataclass(frozen=True)
class StepTarget:
    """A measured value, with the largest acceptable value."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the value is within its limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class SearchCost:
    """The timings of all steps, and their targets."""

    rows: tuple[StepTiming, ...]
    targets: tuple[StepTarget, ...]


def optimizer_step(net: nn.Module, loss: Callable[[], Tensor], alphas: bool = False) -> Thunk:
    """One optimizer step of a search: of all weights, or of the alphas alone.

    Args:
        net: the model; its alphas, if it has any, are the parameter `alpha`.
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


def time_search_step(width: int, layers: int, batch: int, length: int, repeats: int, device: str = "cpu") -> SearchCost:
    """Time each kind of step and each strategy in turns, and measure its peak memory.

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
    space, paths = SearchSpace(NAMES, stages=_STAGES), [[name] * _STAGES for name in NAMES] + [NAMES * (_STAGES // 2)]
    parts = components(width, layers, length)
    supernet = Supernet(parts, space, "mamba", HeadSpec("classification", VOCAB, LABELS)).to(device).train()
    language_model = Supernet(components(width, layers, length), space, "mamba", HeadSpec()).to(device).train()
    ids_BL = torch.randint(3, VOCAB, (batch, length), device=device)
    labels_B = torch.randint(0, LABELS, (batch,), device=device)
    data = {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "labels": labels_B}

    def step_of(net: nn.Module, alphas: bool = False, **options: Any) -> Thunk:
        return optimizer_step(net, lambda: F.cross_entropy(net(ids_BL, **options), labels_B), alphas)

    thunks = {part.name: step_of(ComponentAlone(part).to(device).train()) for part in parts}
    thunks[DENSE] = step_of(supernet)
    thunks |= {f"path {','.join(path)}": step_of(supernet, path=path) for path in paths}
    thunks["alphas"] = step_of(supernet, alphas=True)
    of_strategies, reasons = strategy_steps(supernet, language_model, paths[-1], data)
    thunks |= of_strategies
    with kernels.installed():
        timings = race(thunks, repeats, budget=600)
        peaks = {
            name: max(peak_activations(thunk, device) for _ in range(MEMORY_STEPS)) for name, thunk in thunks.items()
        }
    rows = [step_timing(name, timings, peaks, name in of_strategies) for name in thunks]
    rows += [StepTiming(name, "strategy", note=reason) for name, reason in reasons.items()]
    return SearchCost(tuple(rows), step_targets(timings, peaks, f"path {','.join(paths[-1])}"))


def step_timing(
    name: str, timings: Mapping[str, Timing], peaks: Mapping[str, int], is_strategy: bool = False
) -> StepTiming:
    """The row of a step, with its time relative to the component or components that it runs."""
    timing = timings[name]
    slower = max(NAMES, key=lambda component: timings[component].fastest)
    kind: Literal["component", "supernet", "strategy"] = "supernet"
    relative_to, value, limit = None, None, None
    if name in NAMES:
        kind = "component"
    elif is_strategy or name in (DENSE, "alphas"):
        kind = "strategy" if is_strategy else "supernet"
        relative_to, value = "sum of both", ratio_of_fastest(timing, *(timings[component] for component in NAMES))
        limit = DENSE_LIMIT if name == DENSE else None
    else:
        relative_to, value, limit = "slower one", ratio_of_fastest(timing, timings[slower]), SAMPLED_LIMIT
    return StepTiming(
        step=name,
        kind=kind,
        seconds=timing.fastest,
        repeats=timing.repeats,
        relative_to=relative_to,
        ratio=value,
        limit=limit,
        limit_met=None if limit is None or value is None else value <= limit,
        activation_bytes=peaks[name],
        memory_share=peaks[name] / peaks[DENSE],
    )


def step_targets(timings: Mapping[str, Timing], peaks: Mapping[str, int], sampled: str) -> tuple[StepTarget, ...]:
    """The targets: second order against first order in time, a sampled path against the dense mixture in memory."""
    order = ratio_of_fastest(timings[SECOND_ORDER], timings[FIRST_ORDER])
    return (
        StepTarget("a step of second order, in steps of first order", order, SECOND_ORDER_LIMIT),
        StepTarget(
            f"memory of {sampled}, as a share of the dense mixture's",
            peaks[sampled] / peaks[DENSE],
            SAMPLED_MEMORY_LIMIT,
        ),
    )
