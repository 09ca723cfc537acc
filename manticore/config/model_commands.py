"""The options of commands that use a finished run or model: chat, push, select, generate, export and report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from manticore.components.sources import check_component, check_folder, check_model, check_text
from manticore.config.generate import SamplingOptions
from manticore.errors import ManticoreError, shown
from manticore.nas.resources import check_bits, check_known_bits, check_limits, parse_objectives
from manticore.utils.fields import Checked, ClosedUnitInterval, Range


@dataclass(frozen=True, kw_only=True)
class ChatCommand(Checked):
    """`manticore chat`."""

    model: str
    """Exported folder, run folder, or a component (manticore ls models)."""

    sampling: SamplingOptions = SamplingOptions(max_new_tokens=256, temperature=0.8, top_p=0.95)
    """How tokens are chosen; /params changes it."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self.model)


@dataclass(frozen=True, kw_only=True)
class PushCommand(Checked):
    """`manticore push`."""

    model: Path
    """Exported folder, or run folder, whose hybrid is published."""

    repo: str
    """Name on the hub, as user/name."""

    private: bool = False
    """Make a new repository private."""

    license: str | None = None
    """Identifier of the licence for the card, such as apache-2.0. Default: that of the card."""

    message: str = "Upload with manticore"
    """Message of the commit."""

    check: bool = True
    """First run the code in the card that loads the model, and with it the modeling files of the folder."""

    dry_run: bool = False
    """Show every file and the card, and send nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder(self.model, "push publishes a run folder or an exported folder")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", self.repo):
            raise ManticoreError(f"a model on the hub is called user/name, not {shown(self.repo)}")


@dataclass(frozen=True, kw_only=True)
class SelectCommand(Checked):
    """`manticore select`."""

    run: Path
    """Folder of a finished search."""

    max: tuple[str, ...] = ()
    """Largest costs, several at once, such as parameters=120M or cache_bytes=64MiB@8192."""

    min: tuple[str, ...] = ()
    """Smallest costs, written in the same way."""

    pareto: tuple[str, ...] = ()
    """A quality (score, loss or bits_per_byte) and costs, such as loss,cache_bytes@8192: all paths that no other is
    better than in everything. Default: the one path with the best score."""

    bits: tuple[int, ...] = ()
    """Bits that the weights of a segment may have, such as 16,8,4: chosen with the path by the validation loss under
    simulated quantization, or with each path of --pareto. Default: none are chosen."""

    out: Path | None = None
    """Folder in which each selected path is fine-tuned and exported. Default: nothing is trained."""

    resume: bool = False
    """Resume the fine-tuning in --out."""

    trust_code: bool = False
    """Import the ops of the run's search space."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder(self.run, "select takes the folder of a finished search")
        check_limits(self.max, self.min)
        if self.pareto:
            parse_objectives(self.pareto)
        check_bits(self.bits)
        if not (self.max or self.min or self.pareto or self.bits):
            raise ManticoreError("select needs limits or a front: --max parameters=1M, or --pareto loss,parameters")
        if self.resume and self.out is None:
            raise ManticoreError("--resume needs --out: the folder of the fine-tuning to resume")


@dataclass(frozen=True, kw_only=True)
class GenerateCommand(Checked):
    """`manticore generate`."""

    model: str
    """Exported folder, run folder, or a component (manticore ls models)."""

    prompt: str | None = None
    """Text to continue."""

    prompt_file: Path | None = None
    """File with the text to continue."""

    batch: Path | None = None
    """File of prompts, which are continued one by one: a line each, or of a .jsonl file the field prompt or text."""

    json: bool = False
    """Print a line of JSON for each prompt: prompt, text, numbers of tokens, and why the text ends."""

    sampling: SamplingOptions = SamplingOptions()
    """How tokens are chosen."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(source is not None for source in (self.prompt, self.prompt_file, self.batch)) != 1:
            raise ManticoreError("give one of --prompt TEXT, --prompt-file FILE and --batch FILE")
        check_model(self.model)


@dataclass(frozen=True, kw_only=True)
class ExportCommand(Checked):
    """`manticore export`."""

    run: Path | None = None
    """Run folder."""

    models: tuple[str, ...] | None = None
    """Pretrained models for a hybrid without a search: aliases, hub ids or local folders."""

    base: str | None = None
    """With --models: the base model, by name or source. Default: that of --projectors, or the first of --path."""

    projectors: str | None = None
    """With --models: projector set, by name or path (manticore ls projectors). Default: projectors are untrained."""

    path: tuple[str, ...] | None = None
    """Component of each stage. Default: the path that the run exported."""

    trained: bool = True
    """The weights after fine-tuning, where the run has trained the path by itself; otherwise those of the search."""

    out: Path
    """Folder for the checkpoint; must not exist."""

    trust_code: bool = False
    """With --path: import the ops of the run's search space."""

    native: bool = False
    """Write a model of the base's own class, or of transformers' granitemoehybrid for a parent and its Mamba-2 twin."""

    adapters: tuple[Path, ...] = ()
    """Folders of fine-tunings with --keep-adapter: add up their changes and that of the folder that is exported."""

    lines: ClosedUnitInterval | None = None
    """Of a fine-tuning: scale its update linearly with depth, from this factor at the first layer to 1 at the last."""

    lines_control: Path | None = None
    """Text on which the fine-tuning shall lose little: choose the factor of --lines by it and the validation split."""

    quantize: Literal["torchao"] | None = None
    """torchao: write the hybrid in a folder with integers as weights of the stages with fewer than 16 bits."""

    bits: tuple[int, ...] = ()
    """With --quantize: 16, 8 or 4 for all stages, or for each. Default: those that the run selected its path with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        changes = {
            "--adapters": bool(self.adapters),
            "--lines": self.lines is not None,
            "--lines-control": self.lines_control is not None,
            "--quantize": self.quantize is not None,
        }
        flags = [flag for flag, used in changes.items() if used]
        if flags and (self.run is None or self.path or self.native or not self.trained):
            raise ManticoreError(f"{flags[0]} changes the hybrid in a folder: it goes with a folder and --out alone")
        if len(flags) > 1:
            raise ManticoreError(f"give one of {', '.join(changes)}, not {' and '.join(flags)}")
        if self.bits and self.quantize is None:
            raise ManticoreError("--bits goes with --quantize torchao; otherwise an export has full precision")
        check_known_bits(self.bits)
        if self.lines_control is not None:
            check_text(self.lines_control)
        for folder in self.adapters:
            check_folder(folder, "--adapters takes folders of fine-tunings with --keep-adapter")
        if (self.run is None) == (self.models is None):
            raise ManticoreError("export takes one of a run folder and --models")
        for flag in ("base", "projectors"):
            if self.models is None and getattr(self, flag) is not None:
                raise ManticoreError(f"--{flag} goes with --models; a run has its {flag} already")
        if self.models is not None and self.path is None:
            raise ManticoreError("--models needs --path: the component of each stage")
        if self.run is None and not self.trained:
            raise ManticoreError("--no-trained goes with a run; pretrained models have no weights of a search")
        if self.run is not None:
            check_folder(self.run, "export takes the folder of a finished search, or --models and --path")
        for model in self.models or ():
            check_component(model)


@dataclass(frozen=True, kw_only=True)
class ReportCommand(Checked):
    """`manticore report`."""

    folder: Path
    """Run folder, the --out of compare or transfer, or that of a fine-tuning with an analysis."""

    analyze: bool = False
    """First measure what the training has changed in each stage of the hybrid of a search or a fine-tuning: share of
    weights that moved, rank of the change, distance of its FSP matrix from that of the base."""

    trust_code: bool = False
    """With --analyze: run the code that the hybrid's folder holds for ops and other parts of your own."""

    watch: bool = False
    """Serve the page to this machine and follow the run until Ctrl-C."""

    port: Annotated[int, Range(least=0, most=65535)] | None = None
    """With --watch: the port on 127.0.0.1; 0 takes a free one. Default: 8642."""

    open: bool = False
    """With --watch: open the page in the browser."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.watch and (self.port is not None or self.open):
            raise ManticoreError("--port and --open go with --watch, which serves the page")
        if self.watch and self.analyze:
            raise ManticoreError("give one of --watch and --analyze")
        if self.trust_code and not self.analyze:
            raise ManticoreError("--trust-code goes with --analyze, which loads the hybrid")
        check_folder(self.folder, "report takes a run folder, or the --out of compare or transfer")
