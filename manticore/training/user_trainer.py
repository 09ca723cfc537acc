"""What a user adds to the Trainer of every phase of a run: callbacks, loggers and flags."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers import Logger

from manticore.errors import ManticoreError, shown
from manticore.training.trainer_flags import check_flags

Callbacks = Sequence[lightning.Callback]
Loggers = Logger | Sequence[Logger] | None


@dataclass(frozen=True)
class UserTrainer:
    """Additions of a user to the Trainer of every phase.

    Attributes:
        callbacks: callbacks of all phases, or a function from the name of a phase to its callbacks. A callback reads
            the name as `module.phase`.
        logger: a logger or several, which get the metrics of all phases under names such as `search/loss`, or a
            function from the name of a phase to its loggers, which get the metrics under their plain names.
        flags: flags of the Trainer.

    Raises UnknownName for a flag that no Trainer has, and ManticoreError for callbacks and loggers of another type and
    for flags that a recipe owns; see `trainer_flags`.
    """

    callbacks: Callbacks | Callable[[str], Callbacks] | None = ()
    logger: Loggers | Callable[[str], Loggers] = None
    flags: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_flags(self.flags)
        if self.callbacks is None:
            object.__setattr__(self, "callbacks", ())
        if not callable(self.callbacks):
            _check_all(self.callbacks, lightning.Callback, "callbacks")
        if not callable(self.logger):
            _check_all(_listed(self.logger), Logger, "logger")

    def callbacks_of(self, phase: str) -> list[lightning.Callback]:
        """The callbacks of a phase."""
        callbacks = self.callbacks(phase) if callable(self.callbacks) else self.callbacks
        return _check_all(callbacks, lightning.Callback, "callbacks")

    def loggers_of(self, phase: str) -> list[Logger]:
        """The loggers of a phase."""
        if callable(self.logger):
            return _check_all(_listed(self.logger(phase)), Logger, "logger")
        return [PhaseLogger(logger, phase) for logger in _listed(self.logger)]

    def flags_of(self, callbacks: Callbacks, hardware: Mapping[str, Any]) -> dict[str, Any]:
        """The flags of a Trainer with these callbacks on some hardware, whose plugins the user's follow.

        Lightning's default callbacks are off unless a flag is set.
        """
        default = {
            "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
            "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
            "enable_model_summary": any(isinstance(callback, ModelSummary) for callback in callbacks),
        }
        flags = {**default, **hardware, **self.flags}
        plugins = _listed_plugins(self.flags.get("plugins"))
        if plugins and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            flags["plugins"] = [*hardware.get("plugins", ()), *plugins]
        return flags


class PhaseLogger(Logger):
    """A user's logger in one phase of a run: the names of metrics start with that of the phase, as in `search/loss`.

    All other attributes, such as `experiment`, are those of the logger.
    """

    def __init__(self, logger: Logger, phase: str) -> None:
        super().__init__()
        self.logger = logger
        self.phase = phase

    def __getattr__(self, name: str) -> Any:
        if name == "logger":  # not set yet, as in a copy
            raise AttributeError(name)
        return getattr(self.logger, name)

    @property
    def name(self) -> str | None:
        """The logger's own name."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """The logger's own version."""
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        """The logger's own folder."""
        return self.logger.save_dir

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the metrics with the phase in front of their names."""
        self.logger.log_metrics({f"{self.phase}/{name}": value for name, value in metrics.items()}, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log hyperparameters."""
        self.logger.log_hyperparams(params, *args, **kwargs)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Log the graph of a model."""
        self.logger.log_graph(model, input_array)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Called after a ModelCheckpoint has saved."""
        self.logger.after_save_checkpoint(checkpoint_callback)

    def save(self) -> None:
        """Write what was logged."""
        self.logger.save()

    def finalize(self, status: str) -> None:
        """Called at the end of the phase."""
        self.logger.finalize(status)


def _listed_plugins(plugins: Any) -> list[Any]:
    return [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]


def _listed(loggers: Any) -> Any:
    return [] if loggers is None or loggers is False else [loggers] if isinstance(loggers, Logger) else loggers


def _check_all(items: Any, kind: type, argument: str) -> list[Any]:
    """The items as a list. Raises ManticoreError if one is of another type."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        items = [items]
    for item in items:
        if not isinstance(item, kind):
            name = f"{kind.__module__.partition('.')[0]} {kind.__name__}"
            raise ManticoreError(
                f"{argument}= takes {name}s, or a function from the name of a phase to them, not {shown(item)}"
            )
    return list(items)
