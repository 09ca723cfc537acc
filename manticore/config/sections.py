"""The sections of a recipe, each beside the help of its keys. Knows nothing of what a run does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manticore.components import BlockSize
from manticore.training.options import AlphaOptions, WeightOptions

ENTROPY_SCHEDULES = ("uniform", "stagewise")
FINETUNE_INITS = ("supernet", "components")
BASE_CRITERIA = BEST_ALONE, MIN_KL = ("best_alone", "min_kl")
BASELINES = ("components", "designed", "uniform", "soft", "random", "hub")
BUDGETS = ("tokens", "flops")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


ZERO_SHOT = "zero-shot"
"""The search that trains nothing."""


@dataclass(frozen=True)
class ScratchOptions:
    """Sizes of components built from scratch, which is what tasks with their own vocabulary do with an alias."""

    attention: BlockSize = BlockSize(64, 4, heads=4)
    """Sizes of attention components."""

    recurrent: BlockSize = BlockSize(64, 4)
    """Sizes of recurrent components."""


@dataclass(frozen=True)
class AlignmentOptions:
    """Projectors between language models before the search; other tasks have none to align."""

    tokens: int = 16384
    """Tokens of the task's training text on which P and Q are fitted in closed form, about; 0: they start near the
    identity."""

    projectors: str | None = None
    """A projector set to take instead, by name or path (ls projectors)."""


@dataclass(frozen=True)
class SearchOptions:
    """The search itself."""

    strategy: str = "darts"
    """How alphas move: darts (alternating, on disjoint splits), simultaneous (the paper's single level), or zero-shot
    (not at all: of aligned language models every stage is given away but those that disturb base most)."""

    relaxation: str = "softmax"
    """What alphas mean."""

    steps: int = 400
    """Number of weight steps, warm-up included; in darts each step after the warm-up has an alpha step too."""

    warmup_steps: int = 100
    """Number of first steps in which the alphas are frozen at uniform."""

    batch_size: int = 64
    """Sequences in a batch, of the weights as of the alphas."""

    entropy_weight: float = 1.0
    """Weight of the mixture's entropy in the alphas' loss at the end; rises from 0 and drives the mixture to a path."""

    entropy_schedule: str = "uniform"
    """When the entropy's weight rises: together (at all stages alike) or front-to-back (stage after stage, so that a
    stage is judged behind what was decided before it)."""

    sample_paths: bool = False
    """Weight steps run one path drawn from the mixing weights, not the mixture: cheaper, and every path learns to stand
    by itself. Only in the residual topology, and where alphas have data of their own."""

    temperature: float = 1.0
    """Temperature of the softmax; lower lets the alphas act faster."""

    weights: WeightOptions = WeightOptions()
    """How weights move."""

    alphas: AlphaOptions = AlphaOptions()
    """How alphas move."""


@dataclass(frozen=True)
class FinetuneOptions:
    """Training of the discrete hybrid, and of everything it is compared with."""

    init: str = "supernet"
    """What the discrete hybrid starts from: search (the supernet's weights) or fresh (the components as they were
    before the search, of which only the path is kept)."""

    steps: int = 400
    """Number of optimizer steps."""

    batch_size: int = 64
    """Sequences in a batch."""

    weights: WeightOptions = WeightOptions()
    """How weights move."""


@dataclass(frozen=True)
class SelectionOptions:
    """How base and the path are chosen."""

    base_criterion: str = BEST_ALONE
    """Who is base, if the space does not say: best (the component that is best alone), or open (of language models
    that are aligned, the one whose predictions move least when another stands in for one of its stages)."""

    max_parameters: float | Literal["largest_component"] | None = None
    """Largest number of parameters of the hybrid; `largest_component`: those of the largest component alone, unless
    `max_flops` is set. Default: no limit."""

    max_flops: float | None = None
    """Largest number of operations per token of the hybrid. Default: no limit."""

    fallback_to_component: bool = True
    """Export the best component instead if the hybrid does not beat it on the validation split."""


@dataclass(frozen=True)
class BaselineOptions:
    """What the hybrid is compared with; each is trained on as many tokens as the hybrid was."""

    components: bool = True
    """Train every component alone."""

    uniform: bool = True
    """Train the uniform mixture."""

    random: bool = True
    """Fine-tune a random path of the same supernet."""


@dataclass(frozen=True)
class StudyOptions:
    """`manticore compare` and `manticore transfer`: who takes part, and how often."""

    seeds: int = 3
    """Number of seeds; the data stays the same, weights and batches change."""

    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3)
    """Peak learning rates of which every arm gets the one that serves it best on the validation split."""

    lr_search_seeds: int = 1
    """Number of seeds, the first ones, with which the learning rates are tried."""

    baselines: tuple[str, ...] = ("components", "designed", "uniform", "random", "hub")
    """Whom the hybrid meets: components (each alone), designed (MambaFormer and striped), uniform (the uniform
    mixture), soft (the hybrid, never made discrete), random (a random path), hub (the paper's wiring, single level
    and soft)."""

    budgets: tuple[str, ...] = ("tokens", "flops")
    """What all baselines get the same of, a table for each: tokens, flops."""

    paths: bool = False
    """Train every path of the space from scratch as well, to tell how far the search is from the best of them."""

    path_seeds: int = 0
    """Number of seeds, the first ones, with which these are trained; 0: all."""


@dataclass(frozen=True)
class RunOptions:
    """The machine and the bookkeeping."""

    preset_reason: str = ""
    """Why the task has this preset, where it was not named but found out."""

    seed: int = 0
    """Seed of weights, batches and the random path."""

    device: str = "auto"
    """auto, cpu or cuda."""

    precision: str = "auto"
    """auto (bf16-mixed on CUDA, 32-true elsewhere), 32-true or bf16-mixed."""

    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""

    checkpoint_every: int = 200
    """Steps between saved states."""

    log_every: int = 10
    """Steps between lines in the CSV and TensorBoard logs."""

    micro_batch_size: int = 0
    """Sequences that go through the model at once; gradients of a batch add up over them. 0: the whole batch."""

    gradient_checkpointing: bool = False
    """Keep only the input of each segment and compute the rest again for the gradients: less memory, more time."""

    eval_batch_size: int = 256
    """Sequences in a batch when models are scored."""
