"""A Trainer on its hardware: devices, SLURM, SIGTERM, batches made ahead, and the precision of scores."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins import AsyncCheckpointIO
from torch import Tensor, nn

from manticore.training.batching import BatchSampler, StepDataLoader
from manticore.training.scoring import score
from manticore.training.trainer import Hardware
from manticore.training.user_trainer import UserTrainer
from tests.helpers.search_module import STEPS, collate, examples, module, train

SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_JOB_NAME": "a-search",
    "SLURM_JOB_ID": "17",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "node1",
    "SLURM_NNODES": "1",
}


def test_another_phase_resumes_from_no_state_that_slurm_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    first = train(module(), tmp_path / "first" / "checkpoints", every=STEPS)
    handlers: list[Any] = []

    class Handlers(lightning.Callback):
        def on_train_start(self, trainer: Any, searching: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGUSR1))
            trainer.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")  # as Lightning's requeueing does, in this directory

    train(module(), tmp_path / "other" / "checkpoints", [Handlers()], every=STEPS)
    assert [handler.__module__ for handler in handlers] == ["manticore.training.trainer"]  # no requeueing by Lightning
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert (tmp_path / "hpc_ckpt_1.ckpt").exists()
    second = train(module(), tmp_path / "second" / "checkpoints", every=STEPS)
    assert second.step_count == STEPS
    assert torch.equal(second.net.alpha, first.net.alpha)


class Terminate(lightning.Callback):
    """Sends a signal to this process during a step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer: Any, searching: Any, *_: Any) -> None:
        if searching.step_count == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_sigterm_loses_no_step(number: signal.Signals, tmp_path: Path) -> None:
    whole = train(module(), tmp_path / "whole" / "checkpoints", every=STEPS)
    with pytest.raises(KeyboardInterrupt):
        train(module(), tmp_path / "stopped" / "checkpoints", [Terminate(6, number)], every=STEPS)
    state = torch.load(tmp_path / "stopped" / "checkpoints" / "search.ckpt", weights_only=True)
    assert state["manticore"]["step_count"] == 7
    resumed = train(module(), tmp_path / "stopped" / "checkpoints", every=STEPS)
    after = resumed.net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in whole.net.state_dict().items())


def test_batches_are_made_ahead_in_a_thread_and_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, str]] = []
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned.append(self) or self)

    class Recorded(BatchSampler):
        def batch(self, step: int) -> Any:
            made.append((step, threading.current_thread().name))
            return super().batch(step)

    sampler = Recorded(examples(40), 4, 0, collate)
    loader = StepDataLoader({"weights": sampler}, 6, pin=True)
    batches = iter(loader)
    first = next(batches)
    assert loader.state_dict() == {"step": 1}
    rest = list(batches)
    assert [step for step, _ in made] == list(range(6))
    assert all(name.startswith("manticore-batches") for _, name in made)
    assert len(pinned) == 6 * 3
    plain = BatchSampler(examples(40), 4, 0, collate)
    for step, batch in enumerate([first, *rest]):
        assert torch.equal(batch["weights"]["input_ids"], plain.batch(step)["input_ids"])
    resumed = StepDataLoader({"weights": plain}, 6)
    resumed.load_state_dict({"step": 4})
    assert len(list(resumed)) == 2


def test_an_error_in_the_thread_is_raised_by_the_loader() -> None:
    def broken(_: Any) -> Any:
        raise ValueError("no batch")

    with pytest.raises(ValueError, match="no batch"):
        next(iter(StepDataLoader({"weights": BatchSampler(examples(8), 4, 0, broken)}, 3)))


def test_a_trainer_gets_its_device_and_algorithms(tmp_path: Path) -> None:
    flags = Hardware("cuda", "bf16-mixed", index=3, deterministic=True).flags(tmp_path)
    assert (flags["accelerator"], flags["devices"], flags["deterministic"]) == ("cuda", [3], True)
    assert flags["default_root_dir"] == tmp_path
    assert Hardware("cuda", index=3).device == torch.device("cuda", 3)
    assert Hardware().flags(tmp_path)["deterministic"] is None
    (plugin,) = flags["plugins"]
    own = AsyncCheckpointIO()
    merged = UserTrainer(flags={"plugins": own, "deterministic": False}).flags_of([], flags)
    assert merged["plugins"] == [plugin, own]
    assert merged["deterministic"] is False


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_models_are_scored_in_the_precision_for_scores(precision: str) -> None:
    seen: list[torch.dtype] = []

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 5)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            logits: Tensor = self.out(torch.ones(len(input_ids), 4))
            seen.append(logits.dtype)
            return logits

    with Hardware(eval_precision=precision).scoring():
        score(Scored(), examples(4), collate, 4)
    assert seen == [torch.float32 if precision == "32-true" else torch.bfloat16]
