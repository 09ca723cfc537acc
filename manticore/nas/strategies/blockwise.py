"""Block-wise distillation: every candidate learns to reproduce the base's stage from the base's own input to it.

After DNA (arXiv 1911.13053). With h[s] the base's stream before stage s and D[s] = Segment(h[s]) - h[s] its update,
candidate k of stage s has the relative error

    e[s, k] = E |y[s, k](h[s]) - h[s] - D[s]|^2 / E |D[s]|^2,

which is 0 for the base and 1 for skip. The stages are S independent problems, without a pass through the whole network.
Errors are measured on `train_arch`, and the alphas are their running mean, so the score of a path is a sum:

    alpha[s, base] = 0,   alpha[s, skip] = -1,   alpha[s, k] = mean of e over all s, k  -  e[s, k].

So the path takes another candidate than the base where its error is below the mean, as in zero-shot search. The error
rewards imitation only, also where a candidate could be better than the base: use it to exclude candidates. During the
warm-up the base alone is trained on the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.modeling.segments import Context
from manticore.nas.strategies.base import Losses, Search, strategies, strategy_name
from manticore.nas.strategies.darts import Darts
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch
from manticore.utils.module_state import eval_mode

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable

RATE = 0.1
"""Weight of the newest errors in the running mean."""


@strategies.register("blockwise")
class Blockwise(Darts):
    """A step measures the errors of all candidates on one batch, and trains the candidates to reduce them on another.

    The recorded losses after the warm-up are mean errors. Batches are not split into micro-batches.
    """

    descends: ClassVar[bool] = False
    searches_sizes: ClassVar[bool] = False
    runs_sharded: ClassVar[bool] = False

    def check(self, net: Searchable) -> None:
        if not isinstance(net, Supernet) or not net.topology.has_base:
            raise ManticoreError(
                f"strategy '{strategy_name(self)}' imitates the stages of a base model, which only a supernet of a "
                "topology with a base has; use darts"
            )
        if not net.choices.has_alone(net.base):
            raise ManticoreError(
                f"strategy '{strategy_name(self)}' imitates the stages of '{net.base}', which is no candidate of some "
                "stage; add it in stage_candidates, or use darts"
            )

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        net: Any = search.net
        if search.warming_up:
            return {"loss": search.weight_step(batches["weights"], paths=[(net.base,) * net.choices.stages])}
        return super().step(search, batches)

    def update_alphas(self, search: Search, batches: dict[str, Batch]) -> Tensor:
        net: Any = search.net
        with torch.no_grad(), eval_mode(net):
            errors = block_errors(net, batches["alphas"], search.total)
        totals = search.total(torch.stack([*errors.values()]))
        values_SK = imitation_scores(net, dict(zip(errors, totals.tolist(), strict=True)))
        net.set_alphas(net.alpha_table + RATE * (values_SK.to(net.alpha.device) - net.alpha_table))
        search.count_passes(batches["alphas"], 1, tokens=True)
        return totals.mean()

    def update_weights(self, search: Search, batches: dict[str, Batch]) -> Tensor:
        net: Any = search.net
        loss = torch.stack([*block_errors(net, batches["weights"], search.total).values()]).mean()
        gradients = torch.autograd.grad(loss, search.weights, allow_unused=True)
        for weight, gradient in zip(search.weights, _sums(search, gradients), strict=True):
            weight.grad = gradient
        search.update_weights(batches["weights"])
        return search.total(loss)


def _sums(search: Search, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The sums of gradients over all processes, which have the same ones, in a single message."""
    known = [gradient for gradient in gradients if gradient is not None]
    flat = search.total(torch.cat([gradient.flatten() for gradient in known]))
    parts = iter(flat.split([gradient.numel() for gradient in known]))
    return [None if gradient is None else next(parts).view_as(gradient) for gradient in gradients]


class Block(NamedTuple):
    """What the base does at a stage: input and output (B, L, D), and the context of the pass."""

    h_BLD: Tensor
    out_BLD: Tensor
    context: Context


@torch.no_grad()
def base_blocks(net: Supernet, batch: Batch) -> list[Block]:
    """Every stage of the base alone on a batch, in evaluation mode."""
    blocks: list[Block] = []

    def keep(branch: Any, inputs: tuple[Any, ...], out_BLD: Tensor) -> None:
        # Ops that are not causal need the mask, which a path of the base may do without.
        context = replace(inputs[1], attention_mask=batch["attention_mask"]) if net.ops else inputs[1]
        blocks.append(Block(inputs[0], out_BLD, context))

    base = [net.base] * net.space.stages
    hooks = [net.branch(stage, name).register_forward_hook(keep) for stage, name in enumerate(base)]
    try:
        with eval_mode(net):
            net(batch["input_ids"], batch["attention_mask"], path=base)
    finally:
        for hook in hooks:
            hook.remove()
    return blocks


def block_errors(
    net: Supernet, batch: Batch, total: Callable[[Tensor], Tensor] = torch.clone
) -> dict[tuple[int, int], Tensor]:
    """The relative error of every candidate that imitates, by stage and index of the candidate; differentiable.

    `total` sums values over all processes. With several, an error is the summand of this process.
    """
    errors = {}
    mask_BL1 = batch["attention_mask"][..., None].float()
    for stage, block in enumerate(base_blocks(net, batch)):
        size = total(((block.out_BLD - block.h_BLD).float().square() * mask_BL1).sum()).clamp_min(1e-12)
        for index in imitators(net, stage):
            y_BLD = net.branch(stage, net.candidates[index])(block.h_BLD, block.context)
            errors[stage, index] = ((y_BLD - block.out_BLD).float().square() * mask_BL1).sum() / size
    return errors


def imitators(net: Supernet, stage: int) -> Sequence[int]:
    """Indices of the candidates of a stage that can imitate: all but the base and skip."""
    return [index for index in net.choices.allowed[stage] if net.candidates[index] not in (net.base, SKIP)]


def imitation_scores(net: Supernet, errors: dict[tuple[int, int], float]) -> Tensor:
    """The scores of all candidates, (S, K), from the errors of those that imitate; see the formula above."""
    mean = sum(errors.values()) / max(1, len(errors))
    scores_SK = torch.zeros(net.choices.stages, len(net.candidates))
    if SKIP in net.candidates:
        scores_SK[:, net.candidates.index(SKIP)] = -1.0
    for (stage, index), error in errors.items():
        scores_SK[stage, index] = mean - error
    return scores_SK
