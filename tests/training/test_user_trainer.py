"""A user's callbacks, loggers and flags in every phase of a run: names of phases, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from manticore.errors import ManticoreError
from manticore.training.batching import BatchSampler
from manticore.training.trainer import Hardware, fit
from manticore.training.user_trainer import PhaseLogger, UserTrainer
from tests.helpers.search_module import collate, examples, module


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("accumulate_grad_batches", "no effect in a run; use run.micro_batch_size"),
        ("gradient_clip_val", "use search.weights.max_grad_norm, search.alphas.max_grad_norm and finetune"),
        ("precision", "use run.precision"),
        ("accelerator", "use run.device"),
        ("max_steps", "use search.steps and finetune.steps"),
        ("max_epochs", "use search.steps and finetune.steps"),
        ("log_every_n_steps", "use run.log_every"),
        ("enable_checkpointing", "use run.checkpoint_every"),
        ("callbacks", "use callbacks="),
        ("logger", "use logger="),
        ("devices", "one device and no validation loop"),
        ("val_check_interval", "one device and no validation loop"),
        ("profilr", "unknown flag of a Trainer 'profilr'. Did you mean 'profiler'"),
    ],
)
def test_a_flag_that_a_run_cannot_have_names_the_option(flag: str, message: str) -> None:
    with pytest.raises(ManticoreError, match=message.replace("?", r"\?")) as refused:
        UserTrainer(flags={flag: 2})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", [{"callbacks": [print]}, {"callbacks": "print"}, {"logger": "csv"}, {"logger": [3]}])
def test_another_type_is_refused(given: Any) -> None:
    with pytest.raises(ManticoreError, match=r"(callbacks|logger)= takes lightning (Callback|Logger)s"):
        UserTrainer(**given)


class Phase(lightning.Callback):
    """Records the phase and the logger of the module."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_start(self, trainer: Any, searching: Any) -> None:
        self.seen.append((searching.phase, searching.logger))


def run(folder: Path, user: UserTrainer) -> None:
    searching = module()
    folder.mkdir()
    streams = {name: BatchSampler(examples(40), 4, 0, collate) for name in searching.strategy.streams}
    fit(searching, streams, "search", folder / "checkpoints", Hardware(), Console(quiet=True), user=user)


def test_a_logger_gets_the_metrics_under_the_name_of_the_phase(tmp_path: Path) -> None:
    logger, phase = CSVLogger(tmp_path, "mine", version=""), Phase()
    (tmp_path / "run").mkdir()
    run(tmp_path / "run" / "of-test", UserTrainer([phase], logger))
    ((name, seen),) = phase.seen
    assert name == "search"
    assert isinstance(seen, PhaseLogger)
    assert seen.experiment is logger.experiment
    assert (seen.name, seen.version, seen.save_dir) == (logger.name, logger.version, logger.save_dir)
    head, *rows = (tmp_path / "mine" / "metrics.csv").read_text().splitlines()
    assert {"search/loss", "search/alpha_loss", "search/lr"} <= set(head.split(","))
    assert len(rows) == 6
    assert list((tmp_path / "run" / "of-test" / "logs").rglob("metrics.csv")), "the run's own log is written as well"


def test_a_function_makes_loggers_and_callbacks_of_each_phase(tmp_path: Path) -> None:
    def callbacks(phase: str) -> list[lightning.Callback]:
        return [ModelCheckpoint(tmp_path / phase, every_n_train_steps=5, save_top_k=-1), RichProgressBar()]

    def logger(phase: str) -> TensorBoardLogger:
        return TensorBoardLogger(tmp_path, phase, version="")

    (tmp_path / "run").mkdir()
    run(tmp_path / "run" / "of-test", UserTrainer(callbacks, logger, {"detect_anomaly": False}))
    assert len(list((tmp_path / "search").glob("*.ckpt"))) == 2
    assert list((tmp_path / "search").glob("events.*"))
