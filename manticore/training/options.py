"""Options of training: the optimizer of weights, and the search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from manticore.errors import ManticoreError
from manticore.nas.options import AlphaOptions
from manticore.utils.fields import (
    Checked,
    ClosedUnitInterval,
    DecayRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
)


@dataclass(frozen=True)
class WeightOptions(Checked):
    """The optimizer of network weights: linear warm-up, then cosine decay."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimizer: adamw, or muon (Muon for hidden matrices, AdamW for everything else)."""

    lr: PositiveFloat = 1e-3
    """Peak learning rate."""

    weight_decay: NonNegativeFloat = 0.01
    """Weight decay; not applied to norms, biases, recurrent constants and alphas."""

    beta1: DecayRate = 0.9
    """Decay rate of the running mean of gradients."""

    beta2: DecayRate = 0.98
    """Decay rate of the running mean of squared gradients."""

    warmup_steps: NonNegativeInt = 50
    """Number of steps in which the learning rate rises linearly to its peak."""

    min_lr_ratio: ClosedUnitInterval = 0.1
    """Learning rate at the last step, as a fraction of the peak."""

    max_grad_norm: NonNegativeFloat = 1.0
    """Largest norm of the gradient; larger gradients are scaled down to it."""

    embedding_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of embeddings, positions and heads, as a multiple of lr."""

    depth_lr_decay: Annotated[float, Range(above=0, most=1)] = 1.0
    """Learning rate of each layer as a multiple of that of the next one: of n layers, layer i (from 0) has lr times
    this to the power n - 1 - i, and embeddings and positions to the power n."""

    freeze_depth: ClosedUnitInterval = 0.0
    """Share of the layers, from the first, that are not trained, nor are the embeddings if it is above 0; projectors
    are."""

    donor_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of a donor component's layers, as a multiple of lr; projectors and hub hybrids are not scaled."""


@dataclass(frozen=True)
class LoopOptions(Checked):
    """How a training step is run. Up to rounding, the trained weights do not depend on it.

    Attributes:
        micro_batch_size: sequences that go through the net at once; 0 means the whole batch.
        gradient_checkpointing: keep only the inputs of segments and compute the rest again for the gradients.
        log_every: steps between two records of the loggers; 0: the Trainer's `log_every_n_steps`.
        length: mean tokens of a sequence, at which operations are counted.
        seen_tokens: tokens that were read before the first step.
    """

    micro_batch_size: NonNegativeInt = 0
    gradient_checkpointing: bool = False
    log_every: NonNegativeInt = 0
    length: NonNegativeInt = 1
    seen_tokens: NonNegativeInt = 0


@dataclass(frozen=True)
class SearchOptions(Checked):
    """The search."""

    strategy: str = "darts"
    """Search strategy: darts (weights and alphas alternate, on disjoint splits), simultaneous (both on one split, as in
    the paper), zero-shot (no training: stages of aligned language models are ranked by how much they change the base
    model's predictions), replace-one (no training either: stages by the loss with one of them replaced), halving or
    marginal (paths are trained by themselves; after halving the fine-tuning continues the training of the best path);
    darts-second-order, gaea, gdas, reinmax, drnas, sdarts, sdarts-adversarial, head-wise, rloo (other gradients of the
    alphas); uniform, fair, full-layout, complexity-bins, mixture-of-supernets, per-example, sandwich (supernets of
    sampled paths, which are then evaluated); blockwise (candidates learn to imitate the stages of the base)."""

    strategy_options: dict[str, Any] = field(default_factory=dict)
    """Options of the strategy, if it has any: rounds, first_share and margin of halving; groups of head-wise; bins and
    floor of complexity-bins; experts of mixture-of-supernets."""

    task_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the task for the search alone, such as max_length: 31 of lra-listops. On shorter sequences models
    begin to learn sooner, and a search ranks paths with fewer tokens. Those of a recipe file are for its own task: they
    are left out for a task that is named with settings, or with data. Not with strategies that train paths by
    themselves, because the fine-tuning continues that training."""

    shorter_sequences: bool = False
    """The search has the task's own shorter variant: expressions a quarter as long for lra-listops, about half as many
    tokens for a MAD task. Keys of task_settings override its settings. Left out where these are, and not with
    strategies that train paths by themselves."""

    relaxation: str = "softmax"
    """How alphas become mixing weights: softmax, or a registered one."""

    steps: PositiveInt = 400
    """Number of weight steps, warm-up included; with darts every step after the warm-up has an alpha step too."""

    warmup_steps: NonNegativeInt = 100
    """Number of first steps in which the alphas stay uniform."""

    batch_size: PositiveInt = 64
    """Sequences in a batch, for weights and for alphas."""

    entropy_weight: NonNegativeFloat = 1.0
    """Coefficient of the entropy of the mixing weights in the alphas' loss; it rises from 0 to this at the last step
    and drives the mixture towards a single path."""

    entropy_schedule: Literal["uniform", "stagewise"] = "uniform"
    """How the coefficient rises: uniform (in all stages together) or stagewise (from the first stage to the last, so
    that a stage is decided after the stages before it)."""

    sample_paths: bool = False
    """Weight steps train one path, sampled from the mixing weights, instead of the mixture. A step is cheaper, and each
    path learns to work by itself. Residual topology with a bilevel strategy only."""

    regularizer: str = "entropy"
    """Term in the alphas' loss, which entropy_weight and entropy_schedule scale: entropy or polarization (L1 distances
    between the mixing weights), or a registered one."""

    cost_weight: NonNegativeFloat = 0.0
    """Coefficient of the term in the alphas' loss that rises where the expected cost of the mixing weights is beyond
    selection.max or selection.min; in nats for each limit's whole size. 0: limits count in the selection only."""

    temperature: PositiveFloat = 1.0
    """Temperature of the softmax; a lower one makes the alphas act faster."""

    weights: WeightOptions = WeightOptions()
    """Optimizer of the weights."""

    alphas: AlphaOptions = AlphaOptions()
    """Optimizer of the alphas."""

    @property
    def has_own_task(self) -> bool:
        """Whether the search has another variant of the task than the fine-tuning."""
        return self.shorter_sequences or bool(self.task_settings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps >= self.steps:
            raise ManticoreError(
                f"search.warmup_steps must be below search.steps ({self.steps}), so that alphas are trained, "
                f"got {self.warmup_steps}"
            )
        if self.relaxation == "fixed":
            raise ManticoreError("search.relaxation cannot be 'fixed': there would be nothing to search")
