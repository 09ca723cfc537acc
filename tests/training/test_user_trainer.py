"""A user's callbacks, loggers and flags in every phase of a run: names of phases, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from manticore.errors import ManticoreError
from manticore.training.batching import BatchSampler
from manticore.training.search_module import SearchModule
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


class Stop(lightning.Callback):
    """Raises an exception after a step, as in a crash."""

    def on_train_batch_end(self, trainer: Any, searching: Any, *_: Any) -> None:
        if searching.step_count == 6:
            raise InterruptedError("stopped at step 6")


def run(folder: Path, user: UserTrainer) -> SearchModule:
    searching: SearchModule = module()
    folder.mkdir(exist_ok=True)
    streams = {name: BatchSampler(examples(40), 4, 0, collate) for name in searching.strategy.streams}
    hardware = Hardware(checkpoint_every=4)
    fit(searching, streams, "search", folder / "checkpoints", hardware, Console(quiet=True), user=user)
    return searching


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


def test_a_phase_with_stateful_callbacks_is_resumed(tmp_path: Path) -> None:
    def user(*more: lightning.Callback) -> UserTrainer:
        checkpoints = ModelCheckpoint(tmp_path / "mine", monitor="loss", every_n_train_steps=2, save_top_k=2)
        return UserTrainer([*more, checkpoints])

    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole" / "of-test", user())
    with pytest.raises(InterruptedError):
        run(tmp_path / "resumed" / "of-test", user(Stop()))
    resumed = run(tmp_path / "resumed" / "of-test", user())
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
