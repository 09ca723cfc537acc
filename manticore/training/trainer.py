"""Runs a training phase to its end, from its start or from its last checkpoint."""

from __future__ import annotations

import io
import logging
import signal
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from rich.console import Console

from manticore.errors import BadFile, LostProcess, ManticoreError, NonFiniteLoss
from manticore.training.batching import BatchSampler, StepDataLoader
from manticore.training.callbacks import Checkpointer, ProgressDisplay, ProgressFile
from manticore.training.lockstep import Lockstep
from manticore.training.modules import TrainModule
from manticore.training.run_loggers import RunLoggers, StageRecord
from manticore.training.sharding import ShardedStrategy
from manticore.training.user_trainer import UserTrainer
from manticore.utils.failures import write_problem
from manticore.utils.io import slug
from manticore.utils.ranks import ALONE, Ranks
from manticore.utils.rng import rng_state, set_rng_state

SHARED_FLAGS = ("benchmark", "detect_anomaly", "deterministic", "inference_mode")
"""Flags of a user's Trainer for all processes; other flags, callbacks and loggers are those of the first one."""

LOG_EVERY = 10
"""Default number of steps between two records of the loggers."""


@dataclass(frozen=True)
class Hardware:
    """Device and precision of training.

    Attributes:
        accelerator: `cpu` or `cuda`, as Lightning names it.
        precision: `32-true` or `bf16-mixed`, as Lightning names it.
        checkpoint_every: steps between checkpoints.
        index: number of the GPU, as in `cuda:1`; None: torch's choice.
        eval_precision: precision of scores.
        deterministic: use only algorithms that repeat to the bit.
        ranks: the processes that train together, each on a device of its own.
        is_sharded: whether each of several processes has a part of the weights (`sharding`) and not all.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    checkpoint_every: int = 200
    index: int | None = None
    eval_precision: str = "32-true"
    deterministic: bool = False
    ranks: Ranks = ALONE
    is_sharded: bool = False

    @property
    def device(self) -> torch.device:
        """The device that models are trained and scored on."""
        return torch.device(self.accelerator) if self.index is None else torch.device(self.accelerator, self.index)

    @property
    def summary(self) -> str:
        """Device, precision and number of processes, for the user."""
        how = " with sharded weights" if self.is_sharded else ""
        together = f", {self.ranks.count} processes{how}" if self.ranks.count > 1 else ""
        return f"{self.accelerator}, {self.precision}{together}"

    def scoring(self) -> torch.autocast:
        """The context in which models are scored: autocast, if `eval_precision` is bf16-mixed."""
        return torch.autocast(self.accelerator, torch.bfloat16, enabled=self.eval_precision == "bf16-mixed")

    def flags(self, folder: Path) -> dict[str, Any]:
        """Flags of a Trainer on this hardware.

        The folder of the phase is Lightning's root, and the process is by itself: in a SLURM job Lightning would save
        states in the working directory, from which a later phase, another model, would resume. Processes that train
        together have a Trainer each; messages between them are those of `Ranks` alone.
        """
        return {
            "accelerator": self.accelerator,
            "devices": 1 if self.index is None else [self.index],
            "precision": self.precision,
            "deterministic": self.deterministic or None,
            "default_root_dir": folder,
            "plugins": [LightningEnvironment()],
        }


class SharedWork(ABC):
    """Work that the first process sends to the others, which take part in it."""

    @abstractmethod
    def take_part(self, hardware: Hardware) -> None:
        """Do the part of this process, which is not the first one. Raises LostProcess if another one has ended."""


@dataclass(frozen=True)
class SharedTraining(SharedWork):
    """A training that the first process sends to the others.

    Attributes:
        module: what to train.
        streams: batches by name.
        title: name of the phase.
        folder: folder of the checkpoint, which all processes can read.
        resumes: whether there is a checkpoint.
        rng: random state at the start.
        flags: flags of the Trainer.
    """

    module: TrainModule
    streams: dict[str, BatchSampler]
    title: str
    folder: Path
    resumes: bool
    rng: dict[str, Any]
    flags: dict[str, Any]

    def take_part(self, hardware: Hardware) -> None:
        """See `SharedWork`. Raises KeyboardInterrupt as `fit` does."""
        set_rng_state(self.rng, hardware.device)
        with suppress(NonFiniteLoss):  # the first process gets it too, and may go on with another training
            run_training(self, hardware, Console(quiet=True), (), UserTrainer(flags=self.flags))


def packed(value: object) -> bytes:
    """A value for another process of this run; tensors that share memory still do so there.

    Raises ManticoreError if it cannot be pickled.
    """
    file = io.BytesIO()
    try:
        torch.save(value, file)
    except Exception as error:  # pickle, torch and objects raise different ones
        raise ManticoreError(
            f"a part of the model, of the task or of the strategy cannot be sent to other processes: {error}; "
            "use --devices 1"
        ) from error
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """A value that another process of this run has packed."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)


def fit(
    module: TrainModule,
    streams: Mapping[str, BatchSampler],
    title: str,
    folder: Path,
    hardware: Hardware,
    console: Console,
    callbacks: Sequence[lightning.Callback] = (),
    user: UserTrainer | None = None,
    loggers: RunLoggers | None = None,
    position: str = "",
) -> None:
    """Train a module for its number of steps; afterwards its net is on the CPU, in evaluation mode.

    The checkpoint is `folder/<title>.ckpt`; if it exists, training resumes from it. Logs are written to
    `folder/../logs`.

    Args:
        module: what to train.
        streams: batches by name.
        title: name of the phase.
        folder: folder of the checkpoint.
        hardware: device and precision.
        console: where progress is shown.
        callbacks: further callbacks.
        user: what a user adds to the Trainer.
        loggers: the loggers that are selected by name. Default: CSV and TensorBoard.
        position: shown after the title, such as `3 of 8` phases.

    Raises:
        KeyboardInterrupt: the process was interrupted; the last checkpoint is kept.
        NonFiniteLoss: the loss became NaN or infinite; the last checkpoint is kept.
        BadFile: the checkpoint cannot be read or belongs to another model.
        CannotWrite: a checkpoint or a log cannot be written; the last checkpoint is kept.
    """
    user = user or UserTrainer()
    resumes = _checkpoint(folder, title).exists()
    training = SharedTraining(module, dict(streams), title, folder, resumes, rng_state(hardware.device), {})
    if hardware.ranks.count > 1:
        module.ranks = ALONE
        shared = {flag: value for flag, value in user.flags.items() if flag in SHARED_FLAGS}
        message = packed(replace(training, flags=shared))
        try:
            hardware.ranks.send(message)
        except LostProcess as error:
            hardware.ranks.left.append(error)
            raise
    hardware.ranks.busy.append(title)
    try:
        run_training(training, hardware, console, callbacks, user, loggers, position)
    except NonFiniteLoss:  # in all processes
        raise
    except BaseException as error:
        hardware.ranks.left.append(error)
        raise
    finally:
        hardware.ranks.busy.remove(title)


def serve(hardware: Hardware) -> Any:
    """Take part in trainings and scorings of the first process until it calls `finish`. Returns its value.

    Raises LostProcess if another process has ended, and KeyboardInterrupt as `fit` does.
    """
    while True:
        work = unpacked(hardware.ranks.receive())
        if not isinstance(work, SharedWork):
            return work
        work.take_part(hardware)


def finish(hardware: Hardware, value: object = None) -> None:
    """End `serve` in all other processes, which return `value`."""
    if hardware.ranks.count > 1:
        hardware.ranks.send(packed(value))


def run_training(
    training: SharedTraining,
    hardware: Hardware,
    console: Console,
    callbacks: Sequence[lightning.Callback],
    user: UserTrainer,
    loggers: RunLoggers | None = None,
    position: str = "",
) -> None:
    """Run a training in this process; see `fit`."""
    module, title, folder, ranks = training.module, training.title, training.folder, hardware.ranks
    checkpoint, logs = _checkpoint(folder, title), folder.parent / "logs"
    progress = ProgressDisplay(f"{title} ({position})" if position else title, console)
    module.phase, module.ranks, module.is_sharded = title, ranks, hardware.is_sharded and ranks.count > 1
    strategy = ShardedStrategy(hardware.device, ranks) if module.is_sharded else None
    flags = {**hardware.flags(folder), **({} if strategy is None else {"strategy": strategy})}
    own_callbacks, own_loggers = user.callbacks_of(title), user.loggers_of(title)
    module.has_user_callbacks = bool(own_callbacks)
    interrupt_handler = signal.getsignal(signal.SIGINT)
    with _quiet():
        phase_loggers = [*own_loggers, *(loggers or RunLoggers()).of_phase(title, logs)] if ranks.is_first else []
        trainer = lightning.Trainer(
            max_epochs=1,
            logger=phase_loggers or False,
            callbacks=[
                *own_callbacks,
                *callbacks,
                StageRecord(),
                *([Lockstep(ranks)] if ranks.count > 1 else []),
                *([ProgressFile(logs / ProgressFile.NAME, title, position)] if ranks.is_first else []),
                Checkpointer(checkpoint, hardware.checkpoint_every, ranks),
                progress,
            ],
            log_every_n_steps=module.loop.log_every or LOG_EVERY,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            **user.flags_of(own_callbacks, flags),
        )
        module.train()
        resume: dict[str, Any] = {"ckpt_path": checkpoint, "weights_only": True} if training.resumes else {}
        try:
            loader = StepDataLoader(training.streams, module.steps, hardware.accelerator == "cuda", ranks)
            with _ended_by_usr1():
                trainer.fit(module, train_dataloaders=loader, **resume)
            if strategy is not None:
                strategy.finish(module)
        except SystemExit:  # Lightning raises it for Ctrl-C, whose handler it replaces, and for SIGTERM
            signal.signal(signal.SIGINT, interrupt_handler)
            raise KeyboardInterrupt from None
        except ManticoreError:
            raise
        except Exception as error:  # torch, zipfile and Lightning raise different ones for a checkpoint
            if (problem := write_problem(logs, error)) is not None:  # other files name themselves
                raise problem from error
            if resume and not progress.begun:
                raise BadFile(
                    checkpoint,
                    f"damaged, or no checkpoint of this run ({type(error).__name__}); without it the phase restarts",
                ) from error
            raise
        finally:
            if strategy is not None:
                strategy.leave(module)
    module.net.to("cpu").eval()


def _checkpoint(folder: Path, title: str) -> Path:
    return folder / f"{slug(title)}.ckpt"


@contextmanager
def _ended_by_usr1() -> Iterator[None]:
    """Let SIGUSR1, which `sbatch --signal=USR1@60` sends before the time is up, act as SIGTERM; by default it kills."""
    number = getattr(signal, "SIGUSR1", None)  # not on Windows
    is_main = threading.current_thread() is threading.main_thread()
    if number is None or not is_main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's advice on workers, hardware and tips; errors are still logged.

    TensorBoard writes in a thread, which prints the traceback of an error that it also raises in the main thread.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels: list[Any] = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    hook = threading.excepthook
    threading.excepthook = lambda thread: None if isinstance(thread.exc_value, OSError) else hook(thread)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", module="torch.utils.tensorboard.*")
            warnings.filterwarnings("ignore", module="torch._weights_only_unpickler")
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            yield
    finally:
        threading.excepthook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
