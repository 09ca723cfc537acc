"""The folder of a run: what lies where, which phases are done. Knows nothing of what the phases do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError
from manticore.utils.io import atomic_write, read_json, slug, write_json


@dataclass(frozen=True)
class RunDir:
    """Paths in a run folder, as DESIGN section 5 names them."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe; runs again what was run."""
        return self.root / "recipe.yaml"

    @property
    def alphas(self) -> Path:
        """A JSON line for each alpha step."""
        return self.root / "alphas.jsonl"

    @property
    def architecture(self) -> Path:
        """The path that was found."""
        return self.root / "architecture.json"

    @property
    def metrics(self) -> Path:
        """The comparison table as data; there when the run is complete."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.root / "report.html"

    @property
    def hybrid(self) -> Path:
        """The Hugging Face checkpoint."""
        return self.root / "hybrid"

    @property
    def checkpoints(self) -> Path:
        """States of phases: `.ckpt` while one runs, `.safetensors` and `.json` when it is done."""
        return self.root / "checkpoints"

    def create(self, recipe: Recipe) -> None:
        """Start a run: write its recipe and make the folder of its checkpoints."""
        recipe.save(self.recipe)
        self.checkpoints.mkdir(exist_ok=True)

    def finished_phase(self, phase: str) -> dict[str, Any] | None:
        """What is known of a finished phase, or None."""
        file = self.checkpoints / f"{slug(phase)}.json"
        if not file.exists():
            return None
        held = read_json(file)
        if not isinstance(held, dict) or not {"tokens", "seconds", "flops"} <= set(held):
            raise BadFile(file, "not what a finished phase leaves; without it the phase starts anew")
        return held

    def save_phase(self, phase: str, net: nn.Module, record: dict[str, Any]) -> None:
        """Mark a phase as finished: its weights first, then its facts, then its running state is dropped."""
        with atomic_write(self.weights(phase)) as part:
            save_model(net, str(part))
        write_json(self.checkpoints / f"{slug(phase)}.json", record)
        (self.checkpoints / f"{slug(phase)}.ckpt").unlink(missing_ok=True)

    def weights(self, phase: str) -> Path:
        """The weights of a finished phase."""
        return self.checkpoints / f"{slug(phase)}.safetensors"

    def restore(self, phase: str, net: nn.Module) -> None:
        """Put a finished phase's weights into `net`. Raises BadFile if they are corrupt or another model's."""
        read_weights(self.weights(phase), net)


def read_weights(file: Path, net: nn.Module) -> None:
    """Load safetensors into `net`. Raises BadFile if they are missing, corrupt, a pickle, or another model's."""
    if not file.is_file():
        raise BadFile(file, "no such weights")
    if file.suffix != ".safetensors":
        raise BadFile(file, "weights are read from .safetensors only, never from pickles")
    try:
        load_model(net, str(file), strict=True)
    except SafetensorError as error:
        raise BadFile(file, f"not a safetensors file, or cut short ({str(error)[:80]})") from None
    except RuntimeError as error:
        raise BadFile(file, f"weights of another model ({str(error).splitlines()[0][:80]})") from None


def open_run_dir(out: Path, resume: bool) -> tuple[RunDir, bool]:
    """The run folder at `out`, and whether it holds a run to go on with.

    Raises ManticoreError if `out` holds anything and `resume` was not asked for, or holds something that is no run.
    """
    folder = RunDir(out)
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    held = out.is_dir() and any(out.iterdir())
    if not held:
        return folder, False
    if not resume:
        raise ManticoreError(
            f"{out} already holds something; choose another --out, or add --resume to go on with that run"
        )
    if not folder.recipe.exists():
        raise ManticoreError(f"{out} holds no run to resume: there is no recipe.yaml in it")
    return folder, True


def check_same_options(file: Path, asked: dict[str, Any], resume: bool, what: str) -> None:
    """Raises ManticoreError unless the folder of `file` is free, or `file` in it says that the same was asked before.

    `what` is the kind of run, in words.
    """
    out = file.parent
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not resume:
        raise ManticoreError(f"{out} already holds something; choose another --out, or add --resume to go on with it")
    if not file.exists():
        raise ManticoreError(f"{out} holds no {what} to resume: there is no {file.name} in it")
    held = read_json(file)
    for key in asked:
        if not isinstance(held, dict) or held.get(key) != asked[key]:
            raise ManticoreError(
                f"{out} was started otherwise: '{key}' differs; resume with the same flags, or choose another --out"
            )


def finished_run(given: Path) -> RunDir:
    """The folder of a completed run. Raises ManticoreError if `given` is none."""
    folder = RunDir(given)
    if not given.is_dir() or not folder.recipe.exists():
        raise ManticoreError(f"{given} is no run folder: there is no recipe.yaml in it")
    if not folder.metrics.exists():
        raise ManticoreError(
            f"the run in {given} is not finished; go on with it: manticore search --out {given} --resume"
        )
    return folder


def unused_run_dir(stem: str) -> Path:
    """`runs/<stem>`, or the first of `runs/<stem>-2`, ... that is not taken."""
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
