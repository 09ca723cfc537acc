"""The options of the commands around searches: data, bench, ls, show, cp, validate, schema, doctor, quickstart."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from manticore.components.sources import check_component, check_text
from manticore.config.commands import RecipeCommand, SearchCommand
from manticore.config.launching import LaunchOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.nas.resources import DTYPE_BYTES
from manticore.tasks.options import TaskOptions
from manticore.utils.fields import Checked, PositiveFloat, PositiveInt, Range, Repeated


@dataclass(frozen=True, kw_only=True)
class DataCommand(Checked):
    """`manticore data`."""

    task: TaskOptions
    """The task."""

    out: Path
    """Folder for the files."""


TIMED, TABLES = ("kernels", "search"), ("table", "strategies")

BENCHMARKS_OF = {
    "subject": ("latency",),
    "recipe": ("latency",),
    "lengths": ("latency",),
    "batches": ("latency",),
    "dtypes": ("latency",),
    "config": ("table",),
    "table": ("strategies",),
    "method": ("strategies",),
    "seeds": ("strategies",),
    "launch": TABLES,
    "out": TABLES,
    "case": ("kernels",),
    "aot": ("kernels",),
    "quick": TIMED,
    "repeats": (*TIMED, "latency"),
    "budget": ("kernels",),
    **dict.fromkeys(("width", "layers", "batch", "length"), ("search",)),
    "device": ("search", "latency"),
    "json": TIMED,
}
"""The benchmarks that read an option of `manticore bench`; those that are not named here are read by all."""


@dataclass(frozen=True, kw_only=True)
class BenchCommand(Checked):
    """`manticore bench`."""

    benchmark: Literal["kernels", "search", "latency", "table", "strategies"]
    """Benchmark: kernels and search measure times; latency measures the parts of a search space for limits such as
    prefill_ms=40@2048; table trains every path of a space for HybridBench; strategies compares searches with such
    tables."""

    subject: tuple[str, ...] = ()
    """latency: models, such as gpt-neo,mamba, or the folder of a run."""

    recipe: RecipeCommand = RecipeCommand()
    """latency: the search space, with the flags of a search."""

    lengths: tuple[PositiveInt, ...] = ()
    """latency: numbers of tokens. Default: an eighth, a quarter, a half and all of the task's longest sequence."""

    batches: tuple[PositiveInt, ...] = (1,)
    """latency: numbers of sequences."""

    dtypes: tuple[str, ...] = ("float32",)
    """latency: types of weights (float64, float32, bfloat16, float16)."""

    config: tuple[str, ...] = ()
    """table: recipes of tables, by name or path (manticore ls configs)."""

    table: tuple[str, ...] = ()
    """strategies: tables, by name or file."""

    method: tuple[str, ...] = ("darts",)
    """strategies: methods to compare, each a strategy, +SELECTOR for another selector, @KEY=VALUE for every setting."""

    seeds: PositiveInt = 2
    """strategies: number of seeds of a search."""

    launch: LaunchOptions = LaunchOptions()
    """table, strategies: the processes that run trials."""

    out: Path = Path("runs/hybridbench")
    """table, strategies: folder of trials and results; the same folder again resumes."""

    case: tuple[str, ...] | None = None
    """kernels: names of cases. Default: all."""

    aot: bool = False
    """kernels: compile the Triton kernels for GPUs that are not here, and print registers, memory and instructions."""

    quick: bool = False
    """kernels, search: tiny sizes, a check that the benchmark runs, not a measurement."""

    repeats: PositiveInt = 5
    """kernels, search, latency: number of timed runs of each implementation or part."""

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
    """search, latency: device."""

    json: Path | None = None
    """kernels, search: file for the numbers as JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self):
            readers = BENCHMARKS_OF.get(field.name, (self.benchmark,))
            if self.benchmark not in readers and getattr(self, field.name) != field.default:
                flag = "workers and --launcher" if field.name == "launch" else field.name
                raise ManticoreError(
                    f"bench {self.benchmark} does not take --{flag}; bench {' and bench '.join(readers)} "
                    f"{'does' if len(readers) == 1 else 'do'}"
                )
        if self.benchmark == "latency":
            self._check_latency()
        if self.aot and self.case:
            raise ManticoreError("bench kernels --aot compiles all kernels; leave out --case")
        if self.benchmark == "table" and not self.config:
            raise ManticoreError("bench table needs --config: recipes such as hybridbench/listops")
        if self.benchmark == "strategies" and not self.table:
            raise ManticoreError("bench strategies needs --table: names or files of tables")
        if self.json is not None and not self.json.parent.is_dir():
            raise ManticoreError(f"--json {self.json}: there is no folder {self.json.parent}")

    @property
    def run_folder(self) -> Path | None:
        """The run whose search space is measured; None if models are named."""
        return Path(self.subject[0]) if len(self.subject) == 1 and Path(self.subject[0]).is_dir() else None

    @property
    def measured(self) -> RecipeCommand | Path:
        """What latency measures: a run, or the search space of the flags."""
        if self.run_folder is not None:
            return self.run_folder
        if not self.subject:
            return self.recipe
        space = {**self.recipe.keys.get("space", {}), "components": [*self.subject]}
        return replace(self.recipe, keys={**self.recipe.keys, "space": space})

    def _check_latency(self) -> None:
        for dtype in self.dtypes:
            if dtype not in DTYPE_BYTES:
                raise UnknownName("type of numbers", dtype, DTYPE_BYTES)
        if self.run_folder is not None:
            if self.recipe != RecipeCommand():
                raise ManticoreError("bench latency RUN measures the run's own search space; drop the other flags")
            return
        for name in self.subject:
            check_component(name)
        if not (self.subject or self.recipe.names_run) or not self.dtypes or not self.batches:
            raise ManticoreError("bench latency needs a run folder, or models and a task: gpt-neo,mamba --task TASK")


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

    file: str
    """Recipe, pretraining recipe, search space or projector set, by name or path."""


@dataclass(frozen=True, kw_only=True)
class SchemaCommand(Checked):
    """`manticore schema`."""

    kind: Literal["recipe", "space", "pretrain"]
    """Kind of file."""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand(Checked):
    """`manticore doctor`."""

    hub: bool = True
    """Send one request to the Hugging Face hub, to see whether it answers."""


@dataclass(frozen=True, kw_only=True)
class QuickstartCommand(Checked):
    """`manticore quickstart`."""

    folder: Path | None = None
    """Text to train on: .txt, .md, .jsonl or .parquet, or a folder of such files. Default: the text that is shipped."""

    out: Path | None = None
    """Run folder. Default: runs/quickstart, or a number after it if that exists."""

    overrides: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Any recipe key, such as finetune.steps=100; may be repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folder is not None:
            check_text(self.folder)

    def search(self, out: Path) -> SearchCommand:
        """The search that it stands for, with a run folder."""
        keys = {} if self.folder is None else {"task": {"data_dir": str(self.folder)}}
        return SearchCommand(config="search/quickstart", keys=keys, overrides=self.overrides, out=out)

    @property
    def data_flag(self) -> str:
        """The flag of `manticore search` for the same text, after a space; empty for the shipped text."""
        return "" if self.folder is None else f" --data-dir {shlex.quote(str(self.folder))}"


@dataclass(frozen=True, kw_only=True)
class CompletionCommand(Checked):
    """`manticore completion`."""

    shell: Literal["bash", "zsh", "fish"]
    """The shell."""
