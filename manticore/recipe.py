"""A whole run as frozen dataclasses. Knows what may be said, not what it does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from manticore.components import Size
from manticore.errors import ManticoreError, UnknownName
from manticore.files import write_text
from manticore.mixing import relaxations
from manticore.projector_checks import check_projector
from manticore.space import SearchSpace
from manticore.strategies import strategies
from manticore.tasks.base import TaskOptions
from manticore.training.optim import OPTIMIZERS, AlphaOptions, WeightOptions

DECIDE = ("together", "front-to-back")
STARTS = ("search", "fresh")
HOMES = BEST, OPEN = ("best", "open")
CONTENDERS = ("components", "designed", "uniform", "soft", "random", "hub")
BUDGETS = ("tokens", "flops")
PRECISIONS = ("auto", "32-true", "bf16-mixed")

WEIGHTS_LEAST = dict.fromkeys(("lr", "weight_decay", "warmup_steps", "floor", "clip", "ends", "foreign"), 0.0)
"""The least that the numbers of weight options may be."""

_LEAST: dict[str, dict[str, float]] = {
    "task": {"seed": 0},
    "align": {"tokens": 0},
    "search": {"steps": 1, "warmup_steps": 0, "batch_size": 1, "entropy": 0.0},
    "search.weights": WEIGHTS_LEAST,
    "search.alphas": {"lr": 0.0, "floor": 0.0, "clip": 0.0},
    "finetune": {"steps": 1, "batch_size": 1},
    "finetune.weights": WEIGHTS_LEAST,
    "contest": {"seeds": 1, "tuning_seeds": 1, "path_seeds": 0},
    "run": {
        "seed": 0,
        "threads": 0,
        "checkpoint_every": 1,
        "log_every": 1,
        "micro_batch_size": 0,
        "score_batch_size": 1,
    },
}
"""The least that numbers may be."""


ZERO_SHOT = "zero-shot"
"""The search that trains nothing."""


@dataclass(frozen=True)
class ScratchOptions:
    """Sizes of components built from scratch, which is what tasks with their own vocabulary do with an alias."""

    attention: Size = Size(64, 4, heads=4)
    """Sizes of attention components."""

    recurrent: Size = Size(64, 4)
    """Sizes of recurrent components."""


@dataclass(frozen=True)
class AlignOptions:
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
    (not at all: of aligned language models every stage is given away but those that disturb home most)."""

    relaxation: str = "softmax"
    """What alphas mean."""

    steps: int = 400
    """Number of weight steps, warm-up included; in darts each step after the warm-up has an alpha step too."""

    warmup_steps: int = 100
    """Number of first steps in which the alphas are frozen at uniform."""

    batch_size: int = 64
    """Sequences in a batch, of the weights as of the alphas."""

    entropy: float = 1.0
    """Weight of the mixture's entropy in the alphas' loss at the end; rises from 0 and drives the mixture to a path."""

    decide: str = "together"
    """When the entropy's weight rises: together (at all stages alike) or front-to-back (stage after stage, so that a
    stage is judged behind what was decided before it)."""

    sampled: bool = False
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

    start: str = "search"
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
    """How home and the path are chosen."""

    home: str = BEST
    """Who is home, if the space does not say: best (the component that is best alone), or open (of language models
    that are aligned, the one whose predictions move least when another stands in for one of its stages)."""

    max_parameters: float | None = None
    """Largest number of parameters of the hybrid. Default: no limit."""

    max_flops: float | None = None
    """Largest number of operations per token of the hybrid. Default: no limit."""

    within_largest: bool = False
    """Without another budget: keep the hybrid within the number of parameters of the largest component alone."""

    weigh_home: bool = True
    """Export the best component instead if the hybrid does not beat it on the model-choice split."""


@dataclass(frozen=True)
class CompareOptions:
    """What the hybrid is compared with; each is trained on as many tokens as the hybrid was."""

    components: bool = True
    """Train every component alone."""

    uniform: bool = True
    """Train the uniform mixture."""

    random: bool = True
    """Fine-tune a random path of the same supernet."""


@dataclass(frozen=True)
class ContestOptions:
    """`manticore compare` and `manticore program`: who takes part, and how often."""

    seeds: int = 3
    """Number of seeds; the data stays the same, weights and batches change."""

    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3)
    """Peak learning rates of which every contender gets the one that serves it best on the model-choice split."""

    tuning_seeds: int = 1
    """Number of seeds, the first ones, with which the learning rates are tried."""

    contenders: tuple[str, ...] = ("components", "designed", "uniform", "random", "hub")
    """Whom the hybrid meets: components (each alone), designed (MambaFormer and striped), uniform (the uniform
    mixture), soft (the hybrid, never made discrete), random (a random path), hub (the paper's wiring, single level
    and soft)."""

    budgets: tuple[str, ...] = ("tokens", "flops")
    """What all contenders get the same of, a table for each: tokens, flops."""

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

    score_batch_size: int = 256
    """Sequences in a batch when models are scored."""


@dataclass(frozen=True)
class Recipe:
    """Everything a run needs; `recipe.yaml` in a run folder is one of these and runs it again."""

    task: TaskOptions = TaskOptions()
    """The task and its data."""

    space: dict[str, Any] = field(default_factory=dict)
    """The search space: components, stages, home, topology, projector, projector_options, skip."""

    scratch: ScratchOptions = ScratchOptions()
    """Sizes of components built from scratch."""

    align: AlignOptions = AlignOptions()
    """The alignment of language models."""

    search: SearchOptions = SearchOptions()
    """The search."""

    finetune: FinetuneOptions = FinetuneOptions()
    """The fine-tuning of the discrete hybrid."""

    selection: SelectionOptions = SelectionOptions()
    """How the path is chosen."""

    compare: CompareOptions = CompareOptions()
    """What the hybrid is compared with."""

    contest: ContestOptions = ContestOptions()
    """The comparison over seeds."""

    run: RunOptions = RunOptions()
    """The machine and the bookkeeping."""

    def __post_init__(self) -> None:
        search, run, selection = self.search, self.run, self.selection
        if search.strategy not in (*strategies, ZERO_SHOT):
            raise UnknownName("strategy", search.strategy, [*strategies, ZERO_SHOT])
        _ = relaxations[search.relaxation]
        for section, least in _LEAST.items():
            for key, bound in least.items():
                value = attrgetter(f"{section}.{key}")(self)
                if not bound <= value < math.inf:
                    raise ManticoreError(f"{section}.{key} must be at least {bound:g}, got {value:g}")
        for weights in (search.weights, self.finetune.weights):
            if weights.optimizer not in OPTIMIZERS:
                raise UnknownName("optimizer", weights.optimizer, OPTIMIZERS)
        for options in (search.weights, search.alphas, self.finetune.weights):
            if not (0 <= options.beta1 < 1 and 0 <= options.beta2 < 1):
                raise ManticoreError("beta1 and beta2 of an optimizer must be at least 0 and below 1")
        if selection.max_parameters is not None and selection.max_flops is not None:
            raise ManticoreError("give one budget: selection.max_parameters or selection.max_flops, not both")
        if search.warmup_steps >= search.steps:
            raise ManticoreError(
                f"search.warmup_steps ({search.warmup_steps}) leaves alphas no step: search.steps is {search.steps}"
            )
        if search.relaxation == "fixed":
            raise ManticoreError("search.relaxation cannot be fixed: then there is nothing to search")
        for what, given, known in (
            ("way to decide", search.decide, DECIDE),
            ("start of fine-tuning", self.finetune.start, STARTS),
            ("choice of home", selection.home, HOMES),
        ):
            if given not in known:
                raise UnknownName(what, given, known)
        if not 0 < search.temperature < math.inf:
            raise ManticoreError(f"search.temperature must be above 0, got {search.temperature:g}")
        self._check_contest()
        if run.precision not in PRECISIONS:
            raise UnknownName("precision", run.precision, PRECISIONS)
        if run.device not in ("auto", "cpu", "cuda"):
            raise UnknownName("device", run.device, ("auto", "cpu", "cuda"))

    def _check_contest(self) -> None:
        contest = self.contest
        if not contest.learning_rates or not all(0 < rate < math.inf for rate in contest.learning_rates):
            raise ManticoreError(f"contest.learning_rates must be numbers above 0, got {contest.learning_rates}")
        for what, given, known in (
            ("contender", contest.contenders, CONTENDERS),
            ("budget", contest.budgets, BUDGETS),
        ):
            for name in given:
                if name not in known:
                    raise UnknownName(what, name, known)

    def search_space(self) -> SearchSpace:
        """The search space as an object. Raises ManticoreError if it cannot be, its projectors included."""
        space = SearchSpace.from_dict(self.space)
        check_projector(space.projector, space.projector_options)
        return space

    def save(self, file: Path) -> None:
        """Write as YAML, whole or not at all."""
        held = yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=100)
        write_text(file, f"# Runs again with: manticore search --config recipe.yaml --out another-folder\n{held}")
