"""The options of every command. The flags of the command line, their types, defaults and help come from these fields.

Options that a command shares with recipes are sections of a recipe here too, so defaults and help exist once. Models
and folders that do not exist are refused here, before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from manticore.adapters.options import AdapterOptions
from manticore.components.sources import check_component, check_folder, check_model, check_text
from manticore.config.launching import LaunchOptions
from manticore.config.processes import ProcessOptions
from manticore.config.recipe import Recipe
from manticore.config.sections import AlignOptions, FinetuneOptions, RunOptions
from manticore.errors import ManticoreError
from manticore.nas.space import SearchSpace
from manticore.tasks.options import TaskOptions
from manticore.utils.devices import check_device
from manticore.utils.fields import Checked, KeysOf, NonNegativeInt, OpenUnitInterval, PositiveInt, Range, Repeated

NAMES = ("task.name", "space.components")
"""Recipe keys that say what to run."""

NEEDS = "needs models and a task, such as --models gpt-neo,mamba --task lra-listops; or --config, a recipe"
"""End of the error message of a command that runs recipes if none is named."""


@dataclass(frozen=True, kw_only=True)
class RecipeCommand(Checked):
    """A command that runs recipes: the source of its recipe, and the keys that override it."""

    config: str | None = None
    """Recipe, by name or path (manticore ls configs). Default: the task's own, if there is one."""

    space: str | None = None
    """Search space, by name or path (manticore ls spaces)."""

    keys: Annotated[dict[str, Any], KeysOf(Recipe)] = field(default_factory=dict)
    """Recipe keys that have their own flags."""

    defaults: Annotated[dict[str, Any], KeysOf(Recipe)] = field(default_factory=dict)
    """Recipe keys that the recipe itself overrides."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any recipe key, such as search.steps=1000; may be repeated. manticore show recipe lists the keys."""

    trust_code: bool = False
    """Import the ops that the search space names by import path (package.module:Name), which runs their code."""

    @property
    def names_run(self) -> bool:
        """Whether a recipe, a search space, models or a task are named; otherwise it is not known what to run."""
        named = {f"{section}.{key}" for section, keys in self.keys.items() if isinstance(keys, Mapping) for key in keys}
        named |= {assignment.partition("=")[0] for assignment in self.overrides}
        return self.config is not None or self.space is not None or not named.isdisjoint(NAMES)

    def __post_init__(self) -> None:
        super().__post_init__()
        space = self.keys.get("space")
        for component in space.get("components", ()) if isinstance(space, Mapping) else ():
            if isinstance(component, str):
                check_component(component)


@dataclass(frozen=True, kw_only=True)
class SearchCommand(RecipeCommand):
    """`manticore search`."""

    processes: ProcessOptions = ProcessOptions()
    """The processes that train together."""

    out: Path | None = None
    """Run folder. Default: a new one under runs/."""

    resume: bool = False
    """Resume the run in --out. Without a run there, one starts if --task, --models, --space or --config is set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.out is None:
            raise ManticoreError("--resume needs --out: the folder of the run to resume")
        if self.resume and not self.names_run and not (Path(str(self.out)) / "recipe.yaml").is_file():
            raise ManticoreError(f"there is no run to resume in {self.out}: no {Path(str(self.out)) / 'recipe.yaml'}")
        if not self.resume and not self.names_run:
            raise ManticoreError(f"search {NEEDS}")


@dataclass(frozen=True, kw_only=True)
class PlanCommand(RecipeCommand):
    """`manticore plan`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.names_run:
            raise ManticoreError(f"plan {NEEDS}")


@dataclass(frozen=True, kw_only=True)
class StudyCommand(RecipeCommand):
    """A command that runs trials over seeds."""

    out: Path
    """Folder of trials, tables and report; the same folder again resumes."""

    launch: LaunchOptions = LaunchOptions()
    """The processes that run trials."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand(StudyCommand):
    """`manticore compare`."""

    tasks: Annotated[tuple[str, ...], Repeated("TASK")] = ()
    """Task (manticore ls tasks), or the first word of several, such as mad; may be repeated. Default: the recipe's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tasks and not self.names_run:
            raise ManticoreError(f"compare {NEEDS}")


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
    """Text to train on: .txt, .md, .jsonl or .parquet, or a folder of such files."""

    tokenizer: Path | None = None
    """Folder of a tokenizer. Default: train one on the text."""

    decontaminate: Path | None = None
    """Text to evaluate on later: paragraphs that share 13 words in a row with it are left out of training."""

    adapter: str | None = None
    """Adapter that is trained in place of the weights of linear layers, which stay as they are drawn."""

    precision: str | None = None
    """Precision: 32-true, bf16-mixed, or auto (bf16-mixed on a GPU that computes in bfloat16, 32-true elsewhere)."""

    processes: ProcessOptions = ProcessOptions()
    """The processes that train together."""

    out: Path
    """Folder for the model and its checkpoints."""

    resume: bool = False
    """Resume the pretraining in --out."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any key of the recipe, such as steps=100; may be repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.text)


@dataclass(frozen=True, kw_only=True)
class AlignCommand(Checked):
    """`manticore align`."""

    space: SearchSpace
    """The models, and how they are cut and joined."""

    text: tuple[Path, ...]
    """Text to fit on: .txt, .md, .jsonl or .parquet, other files as UTF-8, or folders of such files."""

    target_text: tuple[Path, ...] = ()
    """Text of the later fine-tuning, mixed into the text."""

    target_share: OpenUnitInterval = 0.1
    """With --target-text: its share of the tokens."""

    stages: PositiveInt | None = None
    """Number of stages; a set fits hybrids of this number only. Default: that of the recipe of --for-task."""

    for_task: str = "text"
    """Task whose recipe sets the number of stages (manticore ls tasks)."""

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

    device: str = "auto"
    """Device: cpu, cuda, cuda:N, or auto (cuda where torch sees a GPU)."""

    out: Path
    """Folder for the projector set; must not exist."""

    @property
    def projector_options(self) -> dict[str, Any]:
        """Options of the projectors, as a search space has them."""
        return ({} if self.rank is None else {"rank": self.rank}) | ({"bypass": True} if self.align.bypass else {})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        if not self.align.tokens:
            raise ManticoreError("--tokens must be a whole number of at least 1, got 0")
        for spec in self.space.components:
            if spec.model is None:
                check_component(spec.source)
        if not self.text:
            raise ManticoreError("--text must name at least one file or folder of text")
        for path in (*self.text, *self.target_text):
            check_text(path)


@dataclass(frozen=True, kw_only=True)
class ModelCommand(Checked):
    """A command that trains or scores a model on a task. Keys of the task that are not set are those of its run."""

    task: Annotated[dict[str, Any], KeysOf(TaskOptions, "task")] = field(default_factory=dict)
    """Keys of the task that have their own flags. Default: the task that the model was trained on."""

    run: RunOptions = RunOptions()
    """Machine, seed and bookkeeping."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any recipe key of the sections task and run, of finetune also finetune and adapter, such as task.test=500; may be
    repeated."""


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand(ModelCommand):
    """`manticore finetune`."""

    hybrid: Path
    """Exported folder, or run folder."""

    finetune: FinetuneOptions = FinetuneOptions()
    """The training."""

    adapter: AdapterOptions = AdapterOptions()
    """The adapters that are trained in place of the weights of the components."""

    keep_adapter: bool = False
    """Write the trained adapter beside the weights that it changes, instead of weights with the change."""

    leave_one_out: bool = False
    """After the training on all files of --data-dir, train again without each of them, for as many steps, and score
    each file of the validation split: how the domains of a mix help each other."""

    processes: ProcessOptions = ProcessOptions()
    """The processes that train together."""

    out: Path
    """Folder for the trained hybrid."""

    resume: bool = False
    """Resume the fine-tuning in --out."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder(self.hybrid, "finetune trains a run folder or an exported folder")
        if self.keep_adapter and self.adapter.name is None and not any("adapter.name=" in o for o in self.overrides):
            raise ManticoreError("--keep-adapter goes with --adapter: without one, the weights themselves are trained")


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(ModelCommand):
    """`manticore evaluate`."""

    model: str
    """Exported folder, run folder, or a component (manticore ls models)."""

    json: Path | None = None
    """File for the scores as JSON."""

    lm_eval: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness to score instead, such as arc_easy,lambada_openai; the results go to the card."""

    lm_eval_folder: Path | None = None
    """Folder with more tasks of lm-evaluation-harness, as YAML files."""

    limit: PositiveInt | None = None
    """With --lm-eval: largest number of examples of a task."""

    generation: bool = False
    """Score what the model generates instead: copying and recall of spans, beside the parents of a hybrid."""

    lengths: tuple[PositiveInt, ...] = (64, 128, 256, 512, 1024, 2048)
    """With --generation: tokens of the prompts."""

    examples: PositiveInt = 32
    """With --generation: number of prompts of a kind and length."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lm_eval and self.generation:
            raise ManticoreError("give one of --lm-eval and --generation")
        if (self.lm_eval or self.generation) and self.task:
            raise ManticoreError("--lm-eval and --generation have tasks of their own; drop the flags of a task")
        if not self.lm_eval and (self.lm_eval_folder is not None or self.limit is not None):
            raise ManticoreError("--lm-eval-folder and --limit go with --lm-eval TASKS")
        if self.json is not None and self.json.is_dir():
            raise ManticoreError(f"{self.json} is a folder; --json needs a file")
        check_model(self.model)
