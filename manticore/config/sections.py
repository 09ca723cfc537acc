"""The sections of a recipe, each key with its help. The annotation of a key defines which values it may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manticore.components.spec import BlockSize
from manticore.errors import ManticoreError
from manticore.nas.options import RANDOM_PLACEMENTS, Placement
from manticore.nas.resources import check_bits, check_limits, parse_objectives
from manticore.tasks.language.recall_weights import parse_recall
from manticore.training.options import WeightOptions
from manticore.utils.devices import check_device
from manticore.utils.fields import (
    Checked,
    ClosedUnitInterval,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

Baseline = Literal["components", "designed", "uniform", "soft", "random", "hub"]
BudgetUnit = Literal["tokens", "flops"]
LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow", "trackio"]


@dataclass(frozen=True)
class ScratchOptions(Checked):
    """Sizes of components built from scratch. An alias is built from scratch on a task with its own vocabulary."""

    attention: BlockSize = BlockSize(64, 4, heads=4)
    """Sizes of attention components."""

    recurrent: BlockSize = BlockSize(64, 4)
    """Sizes of recurrent components."""


@dataclass(frozen=True)
class AlignOptions(Checked):
    """Alignment of language models: their projectors before the first step of the search."""

    tokens: NonNegativeInt = 16384
    """Approximate number of base tokens on which the projectors are fitted in closed form; 0: no fit, they start near
    the identity."""

    bypass: bool = True
    """Fit a bypass with Q, unless projector_options sets bypass: a linear map of the base's stream, for the part of the
    base's update that is linear in it."""

    projectors: str | None = None
    """Projector set to load instead, by name or path (manticore ls projectors); it brings its kind and options of
    projectors. Default: fit on the training split."""


MIXTURE = "mixture"
"""Teacher of the paths of a search: the supernet with its mixing weights."""


@dataclass(frozen=True)
class FinetuneOptions(Checked):
    """Training of the discrete hybrid, and of the models it is compared with."""

    init: Literal["supernet", "components"] = "supernet"
    """Initial weights of the discrete hybrid: supernet (as the search left them) or components (as they were before the
    search, of which only the path is kept)."""

    steps: PositiveInt = 400
    """Number of optimizer steps."""

    batch_size: PositiveInt = 64
    """Sequences in a batch."""

    teacher: str | None = None
    """Language model with the same tokenizer, such as the parent of a twin, whose predictions are learned instead of
    the labels: the loss is the divergence from them (manticore ls models). In a search also a component by its name, or
    mixture, on any task: the mixture of the search teaches its paths. Other baselines than paths learn the labels."""

    copies: ClosedUnitInterval = 0.0
    """Share of the training sequences of a language task that are replaced by random tokens, each given twice: a hybrid
    that is repaired with text alone copies little of its context."""

    exits: tuple[PositiveInt, ...] = ()
    """Numbers of stages after which the hybrid may end at run time (its exit_stage): the loss is the mean over these
    and the whole hybrid, through the same norm and head."""

    weights: WeightOptions = WeightOptions()
    """Optimizer of the weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exits and self.teacher is not None:
            raise ManticoreError("give one of finetune.exits and finetune.teacher: each is a loss of its own")


@dataclass(frozen=True)
class SelectionOptions(Checked):
    """How the base model and the path are selected."""

    base_criterion: Literal["best_alone", "min_kl"] = "best_alone"
    """Which component is the base model if the space names none: best_alone (the best score after training alone) or
    min_kl (of aligned language models, the one whose predictions change least when another model runs one stage,
    measured by the mean KL divergence)."""

    selector: str = "auto"
    """How the path is selected: largest-weight (the largest product of mixing weights), evaluated (the smallest
    validation loss with the weights of the supernet), beam (the same, by local search from the base alone),
    perturbation (the candidates whose removal from the mixture raises its loss most), replace-one (the smallest sum of
    what each choice adds to the loss of the base by itself), replace-pairs (the same with a term for neighbours), or
    auto (as suits the strategy: evaluated where paths are sampled uniformly, else largest-weight). A strategy that
    trains paths by themselves selects by their losses."""

    sequences: PositiveInt | None = None
    """Largest number of validation sequences on which paths are evaluated, spread evenly over the split; for models
    that take seconds for one. Default: all."""

    recall: tuple[str, ...] = ()
    """Weights of synthetic recall beside the validation loss, where paths are evaluated: copying (a sequence of random
    tokens), recall (a span in a text) and pairs (MAD's in-context recall), with the tokens of a prompt after @, such as
    copying=0.5@256,pairs=0.5. Default: none."""

    max: tuple[str, ...] = ()
    """Largest costs of the hybrid, several at once, such as parameters=120M or cache_bytes=64MiB@8192 (bytes of the
    cache after 8,192 tokens). The value largest_component is the cost of the component that costs most alone, and 50%
    half of what the parent of a twin costs alone, else the base, else that component. Default: no limit."""

    min: tuple[str, ...] = ()
    """Smallest costs of the hybrid, written in the same way. Default: no limit."""

    bits: tuple[int, ...] = ()
    """Bits that the weights of a segment may have, such as 16,8,4: chosen with the path by the validation loss under
    simulated quantization, within the limits of weight_bytes. The export keeps full precision. Default: none are
    chosen."""

    pareto: tuple[str, ...] = ()
    """A quality (score, loss or bits_per_byte) and costs whose Pareto front is part of the report, such as
    loss,cache_bytes@8192. Default: none."""

    export: Literal["hybrid", "best"] = "hybrid"
    """Model that is exported to hybrid/: hybrid (the fine-tuned hybrid) or best (the hybrid, or a component that scores
    better on the validation split)."""

    export_best_component: bool = True
    """Also export a component that scores better than the hybrid on the validation split, to best_component/; not with
    export=best."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits(self.max, self.min)
        check_bits(self.bits)
        parse_recall(self.recall)
        if self.pareto:
            parse_objectives(self.pareto)


@dataclass(frozen=True)
class BaselineOptions(Checked):
    """What a search trains besides the hybrid, each on the same number of tokens."""

    components: bool = True
    """Train every component alone."""

    uniform: bool = True
    """Train the uniform mixture."""

    random: bool = True
    """Fine-tune a random path of the same supernet."""

    placements: tuple[Placement, ...] = ()
    """Paths without a search that are fine-tuned too, with the base at as many stages as selection.max allows: even
    (every n-th stage), first, last, replace-one (by the validation loss with one stage replaced, without recall) and
    random (three draws). For a base and one other candidate, such as a parent and its twin. Default: none."""

    @property
    def paths(self) -> int:
        """Number of paths that are fine-tuned besides the hybrid."""
        return self.random + sum(RANDOM_PLACEMENTS if name == "random" else 1 for name in self.placements)


@dataclass(frozen=True)
class StudyOptions(Checked):
    """Trials of `manticore compare` and `manticore transfer`: which models, over how many seeds."""

    seeds: PositiveInt = 3
    """Number of seeds of weights and batches; the data is the same for all."""

    learning_rates: tuple[PositiveFloat, ...] = (1e-3, 2e-3, 4e-3)
    """Peak learning rates to try; each model gets the one with its best score on the validation split."""

    lr_search_seeds: PositiveInt = 1
    """Number of seeds with which the learning rates are tried, starting with the first."""

    baselines: tuple[Baseline, ...] = ("components", "designed", "uniform", "random", "hub")
    """Models to compare the hybrid with: components (each alone), designed (MambaFormer and striped), uniform (the
    uniform mixture), soft (the hybrid before discretization), random (a random path), hub (the paper's topology and
    strategy, not discretized)."""

    budgets: tuple[BudgetUnit, ...] = ("tokens", "flops")
    """What all models get the same amount of, with a table for each: tokens, flops."""

    paths: bool = False
    """Train every path of the space from scratch as well, which gives the regret of the search."""

    path_seeds: NonNegativeInt = 0
    """Number of seeds for that, starting with the first; 0: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rates:
            raise ManticoreError("study.learning_rates must have at least one number above 0, got none")
        if not self.budgets:
            raise ManticoreError("study.budgets must have tokens, flops or both, got none")


@dataclass(frozen=True)
class RunOptions(Checked):
    """Machine, seed and bookkeeping."""

    seed: NonNegativeInt = 0
    """Seed of weights, batches and the random path."""

    device: str = "auto"
    """Device: cpu, cuda, cuda:N (the GPU with the index N), or auto (cuda where torch sees a GPU)."""

    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Precision: 32-true, bf16-mixed, or auto (bf16-mixed on a GPU that computes in bfloat16, 32-true elsewhere)."""

    matmul: Literal["highest", "high"] = "high"
    """Products of fp32 matrices on a GPU: highest (fp32) or high (TF32, faster)."""

    deterministic: bool = False
    """Use only algorithms that repeat to the bit, also on a GPU, where some are slower."""

    eval_precision: Literal["32-true", "training"] = "32-true"
    """Precision of scores: 32-true, or that of the training."""

    threads: NonNegativeInt = 0
    """Number of CPU threads; 0: torch's choice."""

    checkpoint_every: PositiveInt = 200
    """Number of steps between saved states."""

    log_every: PositiveInt = 10
    """Number of steps between lines of the logs."""

    logger: tuple[LoggerName, ...] = ("csv", "tensorboard")
    """Loggers, several at once: csv (always written), tensorboard, wandb, mlflow, trackio. The last three must be
    installed, and send nothing over a network unless their own environment variables say so."""

    micro_batch_size: NonNegativeInt = 0
    """Sequences in one forward pass; gradients accumulate to those of the batch, with less memory. 0: the whole
    batch."""

    gradient_checkpointing: bool = False
    """Keep only the input of each segment and compute the activations again for the gradients: less memory, more
    time."""

    eval_batch_size: PositiveInt = 256
    """Sequences in a batch of an evaluation; fewer need less memory, the scores are the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device, "run.device")
