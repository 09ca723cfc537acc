"""The loggers of a run that are selected by name: files of the run, and trackers of experiments.

CSV and TensorBoard files belong to a phase. Weights & Biases, MLflow and Trackio have one run for all phases of a run
folder, with metrics such as `search/loss`; its id is in `logs/loggers.json`, so that a resumed run continues it.
Nothing is sent over a network unless the environment variables of a tracker say so.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import lightning
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from manticore.errors import ManticoreError
from manticore.training.search_module import SearchModule
from manticore.training.user_trainer import PhaseLogger
from manticore.utils.io import check_run_folder, read_json, slug, write_json
from manticore.utils.memory import peak_memory

PROJECT = "manticore"
"""Project of Weights & Biases and Trackio, experiment of MLflow."""

IDS = "loggers.json"
"""Name of the file with the id of each tracker's run."""

TRACKERS = {"wandb": "wandb", "mlflow": "mlflow-skinny", "trackio": "trackio"}
"""Package of each tracker."""

DEFAULT = ("csv", "tensorboard")


def check_loggers(names: Sequence[str]) -> None:
    """Raises ManticoreError for a logger whose package is not installed; the message has the pip command."""
    for name in names:
        if name in TRACKERS and find_spec(name) is None:
            raise ManticoreError(f"logger '{name}' is not installed: pip install {TRACKERS[name]}")


class RunLoggers:
    """The loggers of all phases of a run. As a context it ends the runs of the trackers.

    The CSV files are always written, because the report reads them.

    Args:
        names: csv, tensorboard, wandb, mlflow, trackio.
        folder: the run folder; None if there are no trackers.
        config: settings of the run, shown by the trackers.

    Raises ManticoreError for a logger that is not installed.
    """

    def __init__(
        self, names: Sequence[str] = DEFAULT, folder: Path | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        check_loggers(names)
        self.names, self.folder, self.config = tuple(names), folder, dict(config or {})
        self._trackers: dict[str, Logger] = {}

    def of_phase(self, phase: str, logs: Path) -> list[Logger]:
        """The loggers of a phase, whose files are in the folder `logs`. Raises CannotWrite if its run is gone."""
        check_run_folder(logs)
        name = slug(phase)
        loggers: list[Logger] = [self._csv(logs, name)]
        if "tensorboard" in self.names:
            loggers.append(TensorBoardLogger(logs, name="tensorboard", version=name))
        return [*loggers, *(_OpenLogger(tracker, phase) for tracker in self.trackers.values())]

    @staticmethod
    def _csv(logs: Path, name: str) -> CSVLogger:
        """A file that is written at every logged step, because `manticore report --watch` reads it."""
        return CSVLogger(logs, "csv", _unused_version(logs / "csv", name), flush_logs_every_n_steps=1)

    @property
    def trackers(self) -> dict[str, Logger]:
        """The trackers by name, opened when they are first needed."""
        names = [name for name in dict.fromkeys(self.names) if name in TRACKERS]
        if names and not self._trackers:
            assert self.folder is not None
            file = self.folder / "logs" / IDS
            ids: dict[str, str] = read_json(file) if file.exists() else {}
            file.parent.mkdir(parents=True, exist_ok=True)
            for name in names:
                self._trackers[name], ids[name] = _OPENERS[name](self.folder.resolve(), ids.get(name))
                self._trackers[name].log_hyperparams(self.config)
            write_json(file, ids)
        return self._trackers

    def log_result(self, path: str, report: Path) -> None:
        """Log the selected path, and the report page as an artifact."""
        for name, tracker in self.trackers.items():
            experiment: Any = tracker.experiment  # type: ignore[attr-defined]
            if name == "wandb":
                import wandb

                experiment.summary["path"] = path
                artifact = wandb.Artifact(f"report-{experiment.id}", type="report")
                artifact.add_file(str(report))
                experiment.log_artifact(artifact)
            elif name == "mlflow":
                experiment.set_tag(tracker.version, "path", path)
                experiment.log_artifact(tracker.version, str(report))
            else:
                experiment.log({"path": path})
                experiment.log_artifact(report, name=f"report-{experiment.id}", type="report")

    def __enter__(self) -> RunLoggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, tracker in self._trackers.items():
            if name == "wandb":
                tracker.experiment.finish(exit_code=int(kind is not None))  # type: ignore[attr-defined]
            else:
                tracker.finalize("success" if kind is None else "failed")
        self._trackers = {}


class StageRecord(lightning.Callback):
    """Logs alphas and mixing weights of each stage, and the peak memory, whenever losses are logged.

    Names are `alpha/stage 1/mamba`, `weight/stage 1/mamba` and `memory_mib`. CSV files do not get them: alphas.jsonl
    has every step.
    """

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        loggers = [logger for logger in trainer.loggers if not isinstance(_inner(logger), CSVLogger)]
        if not loggers or module.step_count % trainer.log_every_n_steps:
            return
        numbers = {"memory_mib": peak_memory() / 2**20}
        if isinstance(module, SearchModule):
            net = module.net
            tables = {"alpha": net.alpha_table.tolist(), "weight": net.weights().tolist()}
            for kind, table in tables.items():
                for stage, row in enumerate(table, start=1):
                    for name, value in zip(net.candidates, row, strict=True):
                        numbers[f"{kind}/stage {stage}/{name}"] = value
        for logger in loggers:
            logger.log_metrics(numbers, module.step_count)


class TrackioLogger(Logger):
    """A run of Trackio, which Lightning has no logger for. Its data is in TRACKIO_DIR, or in Trackio's cache.

    Args:
        name: name of the run; one that exists is continued.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._run: Any = None

    @property
    def experiment(self) -> Any:
        """The run of Trackio."""
        if self._run is None:
            import trackio

            with redirect_stdout(io.StringIO()):
                self._run = trackio.init(
                    PROJECT, self._name, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
                )
        return self._run

    @property
    def name(self) -> str:
        """The project."""
        return PROJECT

    @property
    def version(self) -> str:
        """The name of the run."""
        return self._name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics."""
        self.experiment.log(dict(metrics), step=step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log settings."""
        self.experiment.config.update(params if isinstance(params, dict) else vars(params))

    def finalize(self, status: str) -> None:
        """End the run."""
        if self._run is not None:
            with redirect_stdout(io.StringIO()):
                self._run.finish()
            self._run = None


class _OpenLogger(PhaseLogger):
    """A tracker in one phase: it is not ended with the phase, and gets no settings of it."""

    def finalize(self, status: str) -> None:
        """The run continues with the next phase."""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run has the settings of the recipe."""


def _inner(logger: Logger) -> Logger:
    return logger.logger if isinstance(logger, PhaseLogger) else logger


def _unused_version(folder: Path, name: str) -> str:
    """A version of the logs that does not exist yet, so that a resumed phase does not overwrite its first part."""
    number = 1
    while (folder / (version := name if number == 1 else f"{name}.{number}")).exists():
        number += 1
    return version


def _open_wandb(folder: Path, run_id: str | None) -> tuple[Logger, str]:
    """A run of Weights & Biases in `logs/wandb`: offline, unless WANDB_MODE has another mode."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logger = WandbLogger(
        name=folder.name,
        save_dir=folder / "logs",
        id=run_id,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(silent=True, console="off"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logger, str(logger.experiment.id)


def _open_mlflow(folder: Path, run_id: str | None) -> tuple[Logger, str]:
    """A run of MLflow: at MLFLOW_TRACKING_URI, else in a file store in `logs/mlflow`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = (folder / "logs" / "mlflow").as_uri()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logger = MLFlowLogger(PROJECT, run_name=folder.name, tracking_uri=uri, run_id=run_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logger, str(logger.run_id)


def _open_trackio(folder: Path, run_id: str | None) -> tuple[Logger, str]:
    """A run of Trackio on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL names another place."""
    logger = TrackioLogger(run_id or f"{folder.name}-{os.urandom(3).hex()}")
    return logger, logger.version


_OPENERS: Mapping[str, Callable[[Path, str | None], tuple[Logger, str]]] = {
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
    "trackio": _open_trackio,
}
