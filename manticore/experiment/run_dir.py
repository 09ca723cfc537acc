"""The folder of a run: its files, and which phases are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_file
from torch import Tensor, nn

from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError, UnfinishedRun, shown
from manticore.utils.failures import writing
from manticore.utils.io import atomic_write, read_json, remove_stale_parts, slug, write_json

LOCK = ".lock"
"""Name of the file that is locked while a process runs; see `run_lock`."""

SHOWN_KEYS = 3
"""Largest number of options in the message about a run that was started with other options."""

MAX_NAME = 100
"""Largest length of the name of a folder."""


@dataclass(frozen=True)
class RunDir:
    """Paths in a run folder; docs/reference/file-formats.md describes each file."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, which repeats the run."""
        return self.root / "recipe.yaml"

    @property
    def data(self) -> Path:
        """Name and hash of the data; a run is resumed with the same data only."""
        return self.root / "data.json"

    @property
    def alphas(self) -> Path:
        """A JSON line for each alpha step."""
        return self.root / "alphas.jsonl"

    @property
    def architecture(self) -> Path:
        """The selected path."""
        return self.root / "architecture.json"

    @property
    def metrics(self) -> Path:
        """The comparison table as data; exists once the run is complete."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    @property
    def best_component(self) -> Path:
        """The Hugging Face checkpoint of a component that scored better than the hybrid on the validation split."""
        return self.root / "best_component"

    @property
    def hybrid(self) -> Path:
        """The Hugging Face checkpoint."""
        return self.root / "hybrid"

    @property
    def checkpoints(self) -> Path:
        """States of phases: `.ckpt` while one runs, `.safetensors` and `.json` when it is done."""
        return self.root / "checkpoints"

    def create(self, recipe: Recipe) -> None:
        """Start or resume a run: write its recipe and create the folder of its checkpoints.

        Partial files of a process that was killed are removed, so the caller must have the lock of the run.
        """
        for folder in [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]:
            if folder.is_dir():  # not removed with a part above it
                remove_stale_parts(folder, owned=True)
        recipe.save(self.recipe)
        self.checkpoints.mkdir(exist_ok=True)

    def check_data(self, task: str, fingerprint: str) -> None:
        """Write the hash of a task's data, or compare it with that of the run which is resumed.

        Raises ManticoreError if the data has changed since.
        """
        if self.data.exists():
            saved = read_json(self.data)
            if not isinstance(saved, dict) or saved.get("hash") != fingerprint:
                raise ManticoreError(
                    f"{self.root} was started with other data: the examples of {task} have changed since; "
                    "restore them, or choose another --out"
                )
        else:
            write_json(self.data, {"task": task, "hash": fingerprint})

    def finished_phase(self, phase: str) -> dict[str, Any] | None:
        """The record of a finished phase: tokens, seconds, flops. None if it is not finished."""
        file = self.checkpoints / f"{slug(phase)}.json"
        if not file.exists():
            return None
        record = read_json(file)
        if not isinstance(record, dict) or not {"tokens", "seconds", "flops"} <= set(record):
            raise BadFile(file, "not the record of a finished phase; delete it to run the phase again")
        return record

    def save_phase(self, phase: str, net: nn.Module, record: dict[str, Any]) -> None:
        """Save a finished phase: its weights, then its record; then delete its running state."""
        with atomic_write(self.weights(phase)) as part:
            save_file(distinct_tensors(net), part)
        write_json(self.checkpoints / f"{slug(phase)}.json", record)
        self.remove_state(phase)

    def remove_state(self, phase: str) -> None:
        """Delete the running state of a finished phase, which a run that was killed may have left."""
        state = self.checkpoints / f"{slug(phase)}.ckpt"
        with writing(state):
            state.unlink(missing_ok=True)

    def weights(self, phase: str) -> Path:
        """The weights of a finished phase."""
        return self.checkpoints / f"{slug(phase)}.safetensors"

    def restore(self, phase: str, net: nn.Module) -> None:
        """Load the weights of a finished phase into `net`. Raises BadFile if they are corrupt or another model's."""
        read_weights(self.weights(phase), net)


def distinct_tensors(net: nn.Module) -> dict[str, Tensor]:
    """The state of `net`, in which a tensor with several names has the first of them.

    `safetensors.torch.save_model` lists the other names in an order that differs from run to run; `load_model` needs
    none of them.
    """
    distinct: dict[object, tuple[str, Tensor]] = {}
    for name, tensor in net.state_dict().items():
        memory = (tensor.data_ptr(), tensor.shape) if tensor.numel() else name
        distinct.setdefault(memory, (name, tensor.contiguous()))
    return dict(distinct.values())


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
    """The run folder at `out`, and whether it holds a run to resume.

    Raises ManticoreError if `out` is not empty and `resume` is False, or if it holds no run.
    """
    folder = RunDir(out)
    return folder, _to_resume(folder.recipe, resume, "run")


def check_same_options(file: Path, requested: Mapping[str, Any], resume: bool, what: str) -> None:
    """Raises ManticoreError unless the folder of `file` is empty, or `file` in it has the options `requested`.

    `what` is the kind of run, for the message.
    """
    if _to_resume(file, resume, what):
        as_read = json.loads(json.dumps(requested))  # a tuple is a list in the file
        check_unchanged(file.parent, read_json(file), as_read, "other options")


def check_unchanged(out: Path, saved: Any, requested: Mapping[str, Any], what: str) -> None:
    """Raises ManticoreError unless `saved`, with which the run in `out` was started, has the options `requested`.

    `what` names the options of the earlier run in the message, such as `another recipe`.
    """
    before = saved if isinstance(saved, dict) else {}
    differences = list(_differences(before, {**dict.fromkeys(before), **requested}))
    if differences:
        more = f" and {len(differences) - SHOWN_KEYS} more" if len(differences) > SHOWN_KEYS else ""
        text = ", ".join(differences[:SHOWN_KEYS]) + more
        raise ManticoreError(f"{out} was started with {what}: {text}; resume with the same, or choose another --out")


def _differences(saved: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key was A and is B now` for each key of `requested` with another value in `saved`, nested ones too."""
    for key, value in requested.items():
        before = saved.get(key)
        if before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            yield from _differences(before, {**dict.fromkeys(before), **value}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} was {shown(before)} and is {shown(value)} now"


def _to_resume(file: Path, resume: bool, what: str) -> bool:
    """Whether the folder of `file` holds a run to resume; not if it is empty.

    Raises ManticoreError if it is not empty and `resume` is False, or there is no `file` in it.
    """
    out = file.parent
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    if not out.is_dir() or all(entry.name == LOCK for entry in out.iterdir()):
        return False
    if not resume:
        raise ManticoreError(f"{out} is not empty; choose another --out, or add --resume to continue it")
    if not file.exists():
        raise ManticoreError(f"{out} holds no {what} to resume: there is no {file.name} in it")
    return True


def finished_run(run: Path) -> RunDir:
    """The folder of a completed run. Raises ManticoreError if `run` is not one."""
    folder = RunDir(run)
    if not run.is_dir() or not folder.recipe.exists():
        raise ManticoreError(f"{run} is no run folder: there is no recipe.yaml in it")
    if not folder.metrics.exists():
        raise UnfinishedRun(run)
    return folder


def unused_run_dir(stem: str) -> Path:
    """`runs/<stem>`, or the first of `runs/<stem>-2`, ... that is not taken."""
    return unused_folder(Path("runs"), stem)


def unused_folder(parent: Path, stem: str) -> Path:
    """`<parent>/<stem>`, or the first of `<stem>-2`, ... that is not taken. A long name is cut, and a hash added."""
    if len(stem) > MAX_NAME:
        stem = f"{stem[:MAX_NAME]}-{hashlib.blake2b(stem.encode(), digest_size=4).hexdigest()}"
    number = 1
    while (path := parent / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
