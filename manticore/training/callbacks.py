"""Callbacks of a training phase: checkpoints, the record of alphas, and progress."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from manticore.errors import ManticoreError
from manticore.nas.collapse import concentration
from manticore.training.modules import TrainModule
from manticore.training.search_module import SearchModule
from manticore.utils.console import ProgressUpdate, info, progress_bar
from manticore.utils.failures import writing
from manticore.utils.fields import convert
from manticore.utils.io import atomic_write
from manticore.utils.ranks import ALONE, Ranks
from manticore.utils.text_files import read_text


class Checkpointer(lightning.Callback):
    """Save a checkpoint every `every` steps, and where training stops early: at `TrainModule.until` and for SIGTERM.

    It holds weights, alphas, optimizers, schedules, random state and the position in the data.

    Args:
        file: the checkpoint; replaced atomically.
        every: training steps between two checkpoints.
        ranks: the processes that train together, of which the first one writes.
    """

    def __init__(self, file: Path, every: int, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self.file = file
        self.every = every
        self._saved: int | None = None

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        assert isinstance(module, TrainModule)
        is_ending = module.is_ending or (self.ranks.count == 1 and trainer.received_sigterm)
        if module.step_count % self.every == 0 or module.step_count == module.until or is_ending:
            self._save(trainer, module)
        if module.is_ending:
            raise SIGTERMException

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException) and self.ranks.count == 1:  # Lightning raises it between two steps
            self._save(trainer, module)

    def _save(self, trainer: Any, module: TrainModule) -> None:
        if 0 < module.step_count < module.steps and module.step_count != self._saved:
            module.gather_rng()
            if self.ranks.is_first:
                with atomic_write(self.file) as part:
                    trainer.save_checkpoint(part)
            elif module.is_sharded:
                trainer.save_checkpoint(self.file)  # sends its parts of the weights, and writes nothing
            self._saved = module.step_count


class AlphaRecord(lightning.Callback):
    """Append one JSON line per alpha step: step, tokens, candidates, alphas, mixing weights, losses, signs of collapse.

    The values stay on the device until the module reads its losses, every `log_every` steps; lines are written then,
    and before a checkpoint.

    When training resumes from a checkpoint, lines after the step of the checkpoint are dropped.
    """

    def __init__(self, file: Path | str) -> None:
        self.file: Path = convert(file, Path, "file")
        self._pending: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if not isinstance(module, SearchModule):
            raise ManticoreError(f"AlphaRecord records a SearchModule; {type(module).__name__} has no search")
        self._pending = []
        lines = read_text(self.file).splitlines() if self.file.exists() else []
        kept = [line for line in lines if (step := _step(line)) is not None and step <= module.step_count]
        with atomic_write(self.file) as part:
            part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        assert isinstance(module, SearchModule)
        if "alpha_loss" in module.metrics:
            net = module.net
            self._pending.append(
                {
                    "step": module.step_count,
                    "tokens": module.tokens,
                    "candidates": list(net.candidates),
                    "alphas": net.alpha_table.clone(),
                    "weights": net.weights().detach(),
                    **module.metrics,
                }
            )
        if module.is_log_step:
            self._write()

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        self._write()

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self._write()

    def _write(self) -> None:
        """Write the lines of all steps since the last time."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        with writing(self.file), self.file.open("a", encoding="utf-8") as out:
            for record in pending:
                first = {name: record.pop(name) for name in ("step", "tokens", "candidates", "alphas", "weights")}
                first["alphas"], weights_SK = first["alphas"].tolist(), first["weights"].cpu()
                first["weights"] = weights_SK.tolist()
                losses = {name: float(value) for name, value in record.items()}
                line = {**first, **concentration(first["candidates"], weights_SK), **losses}
                out.write(json.dumps(line) + "\n")


def _step(line: str) -> int | None:
    """The step of a record; None for a line that was not written completely, or is damaged."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


class ProgressDisplay(lightning.Callback):
    """Show progress: step, loss, tokens per second, mixing weights per stage, time left.

    On a terminal this is a progress bar; elsewhere one line after every tenth of the steps.

    Attributes:
        begun: whether the first step has been reached, so that a checkpoint was loaded without an error.
    """

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.console = console
        self.update: ProgressUpdate | None = None
        self.note = ""
        self.stack = ExitStack()
        self.start_time, self.start_tokens, self.start_step = 0.0, 0, 0
        self.begun = False

    def on_train_start(self, trainer: Any, module: Any) -> None:
        assert isinstance(module, TrainModule)
        self.start_time, self.start_tokens, self.start_step = time.monotonic(), module.tokens, module.step_count
        self.begun = True
        if self.console.is_terminal:
            self.update = self.stack.enter_context(progress_bar(self.title, module.steps, console=self.console))
            self.update(module.step_count)

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        assert isinstance(module, TrainModule)
        if self.update is not None:
            if module.is_log_step or not self.note:  # it reads values of the device
                self.note = self._note(module)
            self.update(module.step_count, self.note)
        elif module.step_count % max(1, module.steps // 10) == 0 or module.step_count == module.steps:
            elapsed = time.monotonic() - self.start_time
            left = elapsed / max(1, module.step_count - self.start_step) * (module.steps - module.step_count)
            info(
                self.console,
                f"  {self.title}: step {module.step_count}/{module.steps} · {self._note(module)} · {left:.0f} s left",
            )

    def _note(self, module: TrainModule) -> str:
        rate = (module.tokens - self.start_tokens) / max(1e-9, time.monotonic() - self.start_time)
        note = f"loss {module.last_metrics['loss']:.3f} · {rate:,.0f} tokens/s"
        if isinstance(module, SearchModule) and "alpha_loss" in module.metrics:
            stages = " ".join("/".join(f"{w:.2f}" for w in row) for row in module.net.weights().tolist())
            note += f" · weights {'/'.join(module.net.candidates)}: {stages}"
        return note

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.stack.close()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.stack.close()


class ProgressFile(lightning.Callback):
    """Write how far a phase is to a JSON file, at its start and whenever losses are logged.

    Keys are `phase`, `position` (such as `3 of 8`; may be empty), `step`, `steps`, and after the first step `loss`,
    `tokens_per_second` and `seconds_left`. The file is not written atomically: a reader may see a part of it.

    Args:
        file: the file; its folder is created.
        phase: name of the phase.
        position: its number among the phases of the run; may be empty.
    """

    NAME = "progress.json"

    def __init__(self, file: Path, phase: str, position: str) -> None:
        self.file, self.phase, self.position = file, phase, position
        self.start_time, self.start_step, self.start_tokens = 0.0, 0, 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.start_time, self.start_step, self.start_tokens = time.monotonic(), module.step_count, module.tokens
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._write(module, {})

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        if not module.is_log_step:
            return
        seconds = max(1e-9, time.monotonic() - self.start_time)
        steps = max(1, module.step_count - self.start_step)
        numbers = {
            "loss": module.last_metrics["loss"],
            "tokens_per_second": (module.tokens - self.start_tokens) / seconds,
            "seconds_left": seconds / steps * (module.steps - module.step_count),
        }
        self._write(module, numbers)

    def _write(self, module: Any, numbers: dict[str, float]) -> None:
        record = {"phase": self.phase, "position": self.position, "step": module.step_count, "steps": module.steps}
        with writing(self.file):
            self.file.write_text(json.dumps({**record, **numbers}), encoding="utf-8")
