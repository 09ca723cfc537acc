"""Steps of optimizers by gradients of the loss, computed by one process or by several together.

With several processes each computes the loss of its examples of a batch, times their share of the scored labels of the
whole batch. The sum over all processes is then the mean loss of the whole batch, and its gradient the sum of theirs.
Lightning's wrapper for distributed training is not used: it would send the gradients of all weights in every backward
pass, also in steps of the alphas, and weigh processes equally, however many labels they score.

If weights are sharded (`sharding`), torch sums their gradients in the backward pass, which all processes must run
equally often: one without scored labels runs an example whose loss counts 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from manticore.adapters.gradient_check import GradientCheck
from manticore.errors import ManticoreError
from manticore.nas.cost import FlopCounter
from manticore.tasks.dataset import Batch
from manticore.training.batch_notes import scored_labels
from manticore.training.batching import count_tokens, micro_batches
from manticore.training.deferred_reads import FiniteCheck, step_unless
from manticore.training.losses import LossFunction, cross_entropy, own_loss
from manticore.training.options import LoopOptions
from manticore.training.rows import cut, num_examples, own_share, whole_batch
from manticore.utils.module_state import trainable_only
from manticore.utils.parts import is_part, own_part
from manticore.utils.ranks import ALONE, Ranks

MESSAGE_BYTES = 1 << 26
"""Largest size of a message with gradients; larger ones are sent in parts, which need less memory."""

USE_DDP = "use --distributed ddp"
"""What runs a strategy that does not run with sharded weights."""

TOLERANCE = 1e-3
"""Largest relative difference between the norms of a gradient that every process has computed as a whole."""


@dataclass(frozen=True)
class Update:
    """One optimizer and the parameters that its step changes.

    Attributes:
        optimizer: the optimizer.
        parameters: its parameters.
        max_grad_norm: larger gradients are scaled down to this norm.
    """

    optimizer: Optimizer
    parameters: list[nn.Parameter]
    max_grad_norm: float


class GradientSteps(lightning.LightningModule):
    """The part of a `TrainModule` that computes losses, gradients and steps.

    Attributes:
        ranks: the processes that train together.
        is_sharded: every process has a part of the weights (`sharding`), so that all must run the same passes.
    """

    net: nn.Module
    loop: LoopOptions
    own_loss: LossFunction | None
    gradient_check: GradientCheck
    adapters: Sequence[Any]
    flop_counter: FlopCounter
    step_count: int
    tokens: int
    flops: float

    def __init__(self) -> None:
        super().__init__()
        self.ranks: Ranks = ALONE
        self.is_sharded = False
        self._spare: Batch | None = None
        self._finite = FiniteCheck()
        self._known: list[nn.Parameter] | None = None

    def loss(self, batch: Batch, **options: object) -> Tensor:
        """Mean cross-entropy in nats over the scored labels that this process has, or the user's own loss.

        `options` go to the net, such as `path` to a supernet. Raises ManticoreError as `own_loss` and `cross_entropy`
        do, and for sharded weights if each example has a path of its own, since all processes must run the same.
        """
        if self.is_sharded and "paths" in options:
            raise ManticoreError(f"the strategy runs a path of its own for each example; {USE_DDP}")
        if self.own_loss is None:
            return cross_entropy(self.net, batch, **options)
        return own_loss(self.net, batch, self.own_loss, **options)

    def _own_part(self, batch: Batch, **options: object) -> Tensor | None:
        """The summand of this process in the mean loss of the whole batch; None if it has no scored label."""
        share = own_share(batch)
        if whole_batch(batch) is not None and not scored_labels(batch["labels"]):
            return self.loss(self._filler, **options) * 0.0 if self.is_sharded else None
        loss = self.loss(batch, **options)
        return loss if share == 1.0 else loss * share

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Keep an example for `_filler`."""
        if self.is_sharded:
            self._spare = cut(batch if "labels" in batch else next(iter(batch.values())), 0, 1)

    @property
    def _filler(self) -> Batch:
        """An example of this process with labels that are all scored, for a pass whose loss does not count."""
        assert self._spare is not None
        return {**self._spare, "labels": self._spare["labels"].clamp_min(0)}

    def _parts(self, batch: Batch) -> list[tuple[Batch, float]]:
        """The micro-batches of this process with their shares; if weights are sharded, as many in every process."""
        parts = [*micro_batches(batch, self.loop.micro_batch_size)]
        if self.is_sharded:
            most = -(-num_examples(batch) // self.ranks.count)
            passes = -(-most // (self.loop.micro_batch_size or most))
            parts += [(self._filler, 0.0)] * (passes - len(parts))
        return parts

    def _parameters_of_net(self) -> list[nn.Parameter]:
        """All parameters of the net, listed once: no step but the choice of an adapter's size adds or removes one."""
        if self._known is None or self.adapters:
            self._known = list(self.net.parameters())
        return self._known

    @torch.no_grad()
    def losses(self, batch: Batch, options: Sequence[dict[str, object]]) -> Tensor:
        """The mean losses of the whole batch with each of several options, (N,), without gradients.

        Equal options have equal losses: the parts are summed in double precision, because the order of the processes
        differs between the entries of a sum, and a policy gradient of noise alone would be scaled up by Adam.
        """
        parts = [self._own_part(batch, **each) for each in options]
        losses_N = torch.stack([torch.zeros((), device=self.device) if p is None else p for p in parts])
        return losses_N if self.ranks.count == 1 else self.ranks.sum(losses_N.double()).to(losses_N.dtype)

    def gradients(
        self,
        batch: Batch,
        parameters: Sequence[nn.Parameter],
        penalty: Callable[[], Tensor] | None = None,
        **options: object,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The mean loss of the whole batch, and its gradient, plus that of `penalty`, in each of the parameters.

        A parameter that the loss does not depend on has None. No `grad` is changed. `options` go to the net. Raises
        ManticoreError for weights that are sharded.
        """
        if any(map(is_part, parameters)):
            raise ManticoreError(f"the strategy reads gradients of weights, which --distributed fsdp cuts; {USE_DDP}")
        own = self._own_part(batch, **options)
        target = own
        if penalty is not None and self.ranks.is_first:
            target = penalty() if own is None else own + penalty()
        gradients: list[Tensor | None] = [None] * len(parameters)
        if target is not None:
            gradients = [*torch.autograd.grad(target, parameters, allow_unused=True)]
        loss = torch.zeros((), device=self.device) if own is None else own.detach()
        return sum_gradients(self.ranks, parameters, gradients, loss)

    def _step(
        self,
        batch: Batch,
        updates: Sequence[Update],
        penalty: Callable[[], Tensor] | None = None,
        passes: int = 3,
        paths: Sequence[Sequence[str] | None] = (None,),
    ) -> Tensor:
        """One step of each optimizer by the gradient of the loss on `batch` and of the penalty.

        Only the updated parameters get gradients. The loss is the mean over `paths`; None is the whole net. The step
        costs `passes` times a forward pass of each: with gradients for inputs and weights 3. Returns the loss without
        the penalty.
        """
        for update in updates:
            update.optimizer.zero_grad(set_to_none=True)
        total: Tensor | None = None
        parameters = [parameter for update in updates for parameter in update.parameters]
        with trainable_only(self.net, parameters, self._parameters_of_net()):
            for path in paths:
                options = {} if path is None else {"path": path}
                for part, share in self._parts(batch):
                    loss, share = self.loss(part, **options), share / len(paths)
                    loss = loss if share == 1.0 else loss * share
                    if not loss.requires_grad:
                        raise ManticoreError("the loss does not depend on the parameters that are trained")
                    self.manual_backward(loss)
                    total = loss.detach() if total is None else total + loss.detach()
            if penalty is not None and self.ranks.is_first:
                self.manual_backward(penalty())
        if self.ranks.count > 1:
            own = torch.zeros((), device=self.device) if total is None else total
            copied = [parameter for parameter in parameters if not is_part(parameter)]
            total, gradients = sum_gradients(self.ranks, copied, [p.grad for p in copied], own)
            for parameter, gradient in zip(copied, gradients, strict=True):
                parameter.grad = gradient
        self._take_steps(updates, total)
        self._count(batch, passes, paths)
        return torch.zeros((), device=self.device) if total is None else total

    def _take_steps(self, updates: Sequence[Update], loss: Tensor | None = None) -> None:
        """Clip all gradients, then take all steps, unless the loss or a gradient is not finite (see `check_finite`).

        Every process has the gradients of the whole batch. Raises ManticoreError for an adapter without a gradient.
        """
        if any(update.optimizer is self.weight_optimizer for update in updates):
            self.gradient_check.check()
            for penalty in filter(None, (adapter.penalty() for adapter in self.adapters)):
                self.manual_backward(penalty)
        norms = [clip_gradients(self.ranks, update.parameters, update.max_grad_norm) for update in updates]
        skip = self._finite.add(self.step_count + 1, loss, norms)
        for update in updates:
            step_unless(skip, update.optimizer, update.parameters)

    def _check_equal_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Check gradients that a strategy has computed. Raises ManticoreError if those of the processes differ."""
        if self.ranks.count == 1:
            return
        if any(map(is_part, parameters)):
            raise ManticoreError(f"the strategy sets gradients of weights, which --distributed fsdp cuts; {USE_DDP}")
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        norms = self.ranks.gather(norm)
        if max(norms) - min(norms) > TOLERANCE * max(norms):
            raise ManticoreError(
                "the gradients that the strategy computes differ between processes, as those of search.loss do; it can "
                "run in several processes if it uses search.gradients, or with --devices 1"
            )

    def _count(self, batch: Batch, passes: int, paths: Sequence[Sequence[str] | None] = (None,)) -> None:
        """Add the tokens of a batch, and the operations of `passes` forward passes of each path over it."""
        tokens = count_tokens(batch)
        self.tokens += tokens
        self.flops += passes * tokens * sum(map(self.flop_counter.forward, paths))

    @property
    def weight_optimizer(self) -> Optimizer:
        """The optimizer of the weights."""
        optimizers: Any = self.optimizers()
        optimizer: Optimizer = optimizers[0] if isinstance(optimizers, list) else optimizers
        return optimizer


@torch.no_grad()
def clip_gradients(ranks: Ranks, parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradients of all parameters down to a common norm of at most `max_norm`. Returns their norm before."""
    if not any(map(is_part, parameters)):
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts, copied = ([own_part(g) for g in gradients if is_part(g) == is_cut] for is_cut in (True, False))
    norm = ranks.sum(torch.nn.utils.get_total_norm(parts).square())
    if copied:
        norm = norm + torch.nn.utils.get_total_norm(copied).square()
    norm = norm.sqrt()
    torch._foreach_mul_([*parts, *copied], (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


@torch.no_grad()
def sum_gradients(
    ranks: Ranks, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], loss: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """Sums of the loss and of the gradients over all processes; they are equal in all of them.

    A short message says which parameters have a gradient in any process, and these gradients are sent in one flat
    message, with the loss, or in several of `MESSAGE_BYTES`. The other parameters keep None.
    """
    if ranks.count == 1:
        return loss, [*gradients]
    if not parameters:
        return ranks.sum(loss.clone()), []
    has_gradient = ranks.sum(torch.tensor([gradient is not None for gradient in gradients], dtype=torch.int32)).tolist()
    sums: list[Tensor | None] = [None] * len(parameters)
    loss = loss.reshape(1).to(torch.float32)
    message: list[tuple[int, Tensor]] = []
    size = 0
    for index, parameter in enumerate(parameters):
        if not has_gradient[index]:
            continue
        gradient = gradients[index]
        own = torch.zeros_like(parameter) if gradient is None else gradient
        size += own.numel() * own.element_size()
        if message and (size > MESSAGE_BYTES or own.dtype != message[0][1].dtype):
            _sum_message(ranks, message, sums)
            message, size = [], own.numel() * own.element_size()
        message.append((index, own))
    if message and message[0][1].dtype == torch.float32:
        _sum_message(ranks, [*message, (-1, loss)], sums_and_loss := [*sums, None])
        return _scalar(sums_and_loss[-1]), sums_and_loss[:-1]
    if message:
        _sum_message(ranks, message, sums)
    return _scalar(ranks.sum(loss)), sums


def _scalar(value: Tensor | None) -> Tensor:
    assert value is not None
    return value.reshape(())


def _sum_message(ranks: Ranks, message: Sequence[tuple[int, Tensor]], sums: list[Tensor | None]) -> None:
    """Sum tensors of one type over all processes, and put the sums into `sums` by their indices."""
    flat = ranks.sum(torch.cat([tensor.reshape(-1) for _, tensor in message]))
    for (index, tensor), part in zip(message, flat.split([t.numel() for _, t in message]), strict=True):
        sums[index] = part.view(tensor.shape)
