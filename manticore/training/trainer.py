"""One training phase from start, or from where it was stopped, to its end. Knows nothing of what is trained."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from manticore.errors import BadFile
from manticore.training.batching import BatchSampler, StepDataLoader
from manticore.training.callbacks import Live, SaveState
from manticore.training.modules import TrainModule
from manticore.utils.io import slug


@dataclass(frozen=True)
class Hardware:
    """Where training runs.

    Attributes:
        accelerator: Lightning's name: `cpu` or `cuda`.
        precision: Lightning's name: `32-true`, `bf16-mixed`.
        checkpoint_every: steps between saved states.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    checkpoint_every: int = 200

    @property
    def device(self) -> torch.device:
        """Where models are scored."""
        return torch.device(self.accelerator)


def fit(
    module: TrainModule,
    streams: Mapping[str, BatchSampler],
    title: str,
    folder: Path,
    machine: Hardware,
    console: Console,
    callbacks: Sequence[lightning.Callback] = (),
) -> None:
    """Train `module` for its number of steps.

    The state is kept in `folder/<title>.ckpt`; if that exists, training goes on from it. Logs go to `folder/../logs`.

    Raises:
        KeyboardInterrupt: the user, or the system, wants it to end; the last saved state is kept.
        NonFiniteLoss: the loss became NaN or infinite; the last saved state is kept.
        BadFile: the saved state cannot be read or belongs to another model.
    """
    name = slug(title)
    state = folder / f"{name}.ckpt"
    logs = folder.parent / "logs"
    live = Live(title, console)
    on_interrupt = signal.getsignal(signal.SIGINT)
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=machine.accelerator,
            devices=1,
            precision=machine.precision,  # type: ignore[arg-type]
            max_epochs=1,
            logger=[
                CSVLogger(logs, name="csv", version=_fresh(logs / "csv", name)),
                TensorBoardLogger(logs, name="tensorboard", version=name),
            ],
            callbacks=[*callbacks, SaveState(state, machine.checkpoint_every), live],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        module.train()
        resumed: dict[str, Any] = {"ckpt_path": state, "weights_only": True} if state.exists() else {}
        try:
            trainer.fit(module, train_dataloaders=StepDataLoader(streams, module.steps), **resumed)
        except SystemExit:  # what Lightning makes of Ctrl-C, which it disables, and of SIGTERM
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
        except Exception as error:  # torch, zipfile and Lightning each have their own for a file they cannot use
            if resumed and not live.begun:
                raise BadFile(
                    state,
                    f"damaged, or not a state of this run ({type(error).__name__}); without it the phase starts anew",
                ) from error
            raise
    module.net.to("cpu").eval()


def _fresh(folder: Path, name: str) -> str:
    """A log folder that does not exist yet: a resumed phase logs beside its first part, not over it."""
    part = 1
    while (folder / (version := name if part == 1 else f"{name}.{part}")).exists():
        part += 1
    return version


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice (workers, hardware, tips) off the user's screen; errors pass."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels: list[Any] = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", module="torch.utils.tensorboard.*")
            warnings.filterwarnings("ignore", module="torch._weights_only_unpickler")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
