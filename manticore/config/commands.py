"""The options of every command. The flags of the command line, their types, defaults and help come from these fields.

Options that a command shares with recipes are sections of a recipe here too, so defaults and help exist once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from manticore.config.generate import SamplingOptions
from manticore.config.recipe import Recipe
from manticore.config.sections import AlignOptions, FinetuneOptions, RunOptions
from manticore.errors import ManticoreError
from manticore.nas.space import SearchSpace
from manticore.tasks.options import TaskOptions
from manticore.utils.fields import Checked, KeysOf, NonNegativeInt, PositiveFloat, PositiveInt, Range, Repeated


@dataclass(frozen=True, kw_only=True)
class RecipeCommand(Checked):
    """A command that runs recipes: the source of its recipe, and the keys that override it."""

    config: str | None = None
    """Recipe, by name or path (manticore ls configs). Default: the task's own, if there is one."""

    space: str | None = None
    """Search space, by name or path (manticore ls spaces)."""

    keys: Annotated[dict[str, Any], KeysOf(Recipe)] = field(default_factory=dict)
    """Recipe keys that have their own flags."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any recipe key, such as search.steps=1000; may be repeated. manticore show recipe lists the keys."""

    trust_code: bool = False
    """Import the ops that the search space names by import path (package.module:Name), which runs their code."""


@dataclass(frozen=True, kw_only=True)
class SearchCommand(RecipeCommand):
    """`manticore search`."""

    out: Path | None = None
    """Run folder. Default: a new one under runs/."""

    resume: bool = False
    """Resume the run in --out, if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.out is None:
            raise ManticoreError("--resume needs --out: the folder of the run to resume")


@dataclass(frozen=True, kw_only=True)
class StudyCommand(RecipeCommand):
    """A command that runs trials over seeds."""

    out: Path
    """Folder of trials, tables and report; the same folder again resumes."""

    workers: PositiveInt = 1
    """Number of processes."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand(StudyCommand):
    """`manticore compare`."""

    tasks: Annotated[tuple[str, ...], Repeated("TASK")] = ()
    """Task (manticore ls tasks), or the first word of several, such as mad; may be repeated. Default: the recipe's."""


@dataclass(frozen=True, kw_only=True)
class TransferCommand(StudyCommand):
    """`manticore transfer`."""

    proxies: Annotated[tuple[str, ...], Repeated("TASK")]
    """Proxy task to search on, or the first word of several, such as mad; may be repeated."""

    target: str
    """Target task (manticore ls tasks)."""

    target_models: tuple[str, ...] | None = None
    """Models of the target, in the order of the proxies' models that they replace. Default: the same models."""

    search_target: bool = False
    """Search on the target too, for comparison."""


@dataclass(frozen=True, kw_only=True)
class PretrainCommand(Checked):
    """`manticore pretrain`."""

    config: str
    """Recipe, by name or path (manticore ls configs)."""

    text: Path
    """Text to train on: .txt, .jsonl or .parquet, or a folder of such files."""

    tokenizer: Path | None = None
    """Folder of a tokenizer. Default: train one on the text."""

    decontaminate: Path | None = None
    """Text to evaluate on later: paragraphs that share 13 words in a row with it are left out of training."""

    out: Path
    """Folder for the model and its checkpoints."""

    resume: bool = False
    """Resume the pretraining in --out."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any key of the recipe, such as steps=100; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class AlignCommand(Checked):
    """`manticore align`."""

    space: SearchSpace
    """The models, and how they are cut and joined."""

    text: tuple[Path, ...]
    """Text to fit on: .txt, .jsonl or .parquet, other files as UTF-8, or folders of such files."""

    align: AlignOptions = AlignOptions()
    """The fit."""

    length: Annotated[int, Range(least=2)] = 256
    """Base tokens of a passage."""

    steps: NonNegativeInt = 0
    """Number of gradient steps on the projectors after the closed form."""

    rank: PositiveInt | None = None
    """Rank of low-rank projectors. Default: 16."""

    seed: NonNegativeInt = 0
    """Seed of the gradient steps."""

    out: Path
    """Folder for the projector set; must not exist."""

    @property
    def projector_options(self) -> dict[str, Any]:
        """Options of the projectors, as a search space has them."""
        return ({} if self.rank is None else {"rank": self.rank}) | ({"bypass": True} if self.align.bypass else {})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.align.tokens:
            raise ManticoreError("--tokens must be a whole number of at least 1, got 0")


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand(Checked):
    """`manticore finetune`."""

    hybrid: Path
    """Exported folder, or run folder."""

    task: TaskOptions = TaskOptions()
    """The task."""

    finetune: FinetuneOptions = FinetuneOptions()
    """The training."""

    run: RunOptions = RunOptions()
    """Machine, seed and bookkeeping."""

    out: Path
    """Folder for the trained hybrid."""

    resume: bool = False
    """Resume the fine-tuning in --out."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(Checked):
    """`manticore evaluate`."""

    hybrid: Path
    """Exported folder, or run folder."""

    task: TaskOptions = TaskOptions()
    """The task."""

    run: RunOptions = RunOptions()
    """Machine and bookkeeping."""

    json: Path | None = None
    """File for the scores as JSON."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""


@dataclass(frozen=True, kw_only=True)
class GenerateCommand(Checked):
    """`manticore generate`."""

    model: str
    """Exported folder, run folder, or a component (manticore ls models)."""

    prompt: str | None = None
    """Text to continue."""

    prompt_file: Path | None = None
    """File with the text to continue."""

    sampling: SamplingOptions = SamplingOptions()
    """How tokens are chosen."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.prompt is None) == (self.prompt_file is None):
            raise ManticoreError("give one of --prompt TEXT and --prompt-file FILE")


@dataclass(frozen=True, kw_only=True)
class ExportCommand(Checked):
    """`manticore export`."""

    folder: Path | None = None
    """Run folder."""

    models: tuple[str, ...] | None = None
    """Pretrained models for a hybrid without a search: aliases, hub ids or local folders."""

    base: str | None = None
    """With --models: the base model, by name or source. Default: that of --projectors, or the first of --path."""

    projectors: str | None = None
    """With --models: projector set, by name or path (manticore ls projectors). Default: projectors are untrained."""

    path: tuple[str, ...] | None = None
    """Component of each stage. Default: the path that the run exported."""

    out: Path
    """Folder for the checkpoint; must not exist."""

    trust_code: bool = False
    """With --path: import the ops of the run's search space."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.folder is None) == (self.models is None):
            raise ManticoreError("export takes one of a run folder and --models")
        for flag in ("base", "projectors"):
            if self.models is None and getattr(self, flag) is not None:
                raise ManticoreError(f"--{flag} goes with --models; a run has its {flag} already")
        if self.models is not None and self.path is None:
            raise ManticoreError("--models needs --path: the component of each stage")


@dataclass(frozen=True, kw_only=True)
class ReportCommand(Checked):
    """`manticore report`."""

    folder: Path
    """Run folder, or the --out of compare or transfer."""


@dataclass(frozen=True, kw_only=True)
class DataCommand(Checked):
    """`manticore data`."""

    task: TaskOptions
    """The task."""

    out: Path
    """Folder for the files."""


@dataclass(frozen=True, kw_only=True)
class BenchCommand(Checked):
    """`manticore bench`."""

    benchmark: Literal["kernels", "search"]
    """What to time."""

    case: tuple[str, ...] | None = None
    """kernels: names of cases. Default: all."""

    quick: bool = False
    """Tiny sizes: a check that the benchmark runs, not a measurement."""

    repeats: PositiveInt = 5
    """Number of timed runs of each implementation."""

    budget: PositiveFloat = 60.0
    """kernels: seconds after which an implementation is not run again."""

    threads: PositiveInt | None = None
    """Number of CPU threads. Default: torch's choice."""

    width: Annotated[int, Range(least=8)] = 256
    """search: features of the stream."""

    layers: Annotated[int, Range(least=4)] = 8
    """search: layers of the GPT-Neo component."""

    batch: PositiveInt = 4
    """search: sequences in a batch."""

    length: Annotated[int, Range(least=8)] = 512
    """search: tokens of a sequence."""

    device: Literal["cpu", "cuda"] = "cpu"
    """search: device."""

    json: Path | None = None
    """File for the numbers as JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.json is not None and not self.json.parent.is_dir():
            raise ManticoreError(f"--json {self.json}: there is no folder {self.json.parent}")


@dataclass(frozen=True, kw_only=True)
class ListCommand(Checked):
    """`manticore ls`."""

    kind: Literal["models", "tasks", "spaces", "projectors", "configs"] | None = None
    """What to list. Default: everything."""


@dataclass(frozen=True, kw_only=True)
class ShowCommand(Checked):
    """`manticore show`."""

    name: str
    """Model, task, search space, projector set or recipe; or the word recipe, for all recipe keys."""


@dataclass(frozen=True, kw_only=True)
class CopyCommand(Checked):
    """`manticore cp`."""

    name: str
    """Search space, projector set, recipe or model (manticore ls)."""

    dest: Path
    """File or folder to write; must not exist."""


@dataclass(frozen=True, kw_only=True)
class ValidateCommand(Checked):
    """`manticore validate`."""

    file: Path
    """YAML file of a recipe or search space, or a projector set."""
