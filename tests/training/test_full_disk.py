"""Training on a disk without room ends with the file in one line, and goes on from its last checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manticore.errors import CannotWrite
from manticore.training.callbacks import AlphaRecord
from manticore.training.options import LoopOptions
from manticore.utils.io import atomic_write
from tests.helpers.file_limit import file_limit
from tests.helpers.search_module import STEPS, module, train


@pytest.mark.parametrize(
    ("limit", "every", "name"),
    [(100, STEPS, "logs"), (20_000, 2, "checkpoints/search.ckpt"), (600, STEPS, "alphas.jsonl")],
)
def test_a_phase_without_room_names_the_file_and_prints_nothing(
    limit: int, every: int, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    callbacks = [AlphaRecord(tmp_path / "alphas.jsonl")]
    searching = module(loop=LoopOptions(log_every=STEPS if name == "alphas.jsonl" else 1))
    with file_limit(limit), pytest.raises(CannotWrite) as raised:
        train(searching, tmp_path / "checkpoints", callbacks, every)
    assert str(raised.value) == f"{tmp_path / name} cannot be written: File too large"
    assert capfd.readouterr().err == ""


def test_training_goes_on_from_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(module(), tmp_path / "whole" / "checkpoints", every=2)
    folder, saved = tmp_path / "stopped" / "checkpoints", []

    def last_one_fails(file: Path) -> object:
        saved.append(file)
        if len(saved) == 3:
            raise CannotWrite(file, "No space left on device")
        return atomic_write(file)

    with monkeypatch.context() as patch:
        patch.setattr("manticore.training.callbacks.atomic_write", last_one_fails)
        with pytest.raises(CannotWrite):
            train(module(), folder, every=2)
    resumed = train(module(), folder, every=2)
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_a_resumed_phase_without_room_does_not_blame_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = [AlphaRecord(tmp_path / "alphas.jsonl")]
    with monkeypatch.context() as patch:
        patch.setattr("manticore.training.callbacks.AlphaRecord.on_train_batch_end", _stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            train(module(), tmp_path / "checkpoints", callbacks, 2)
    with file_limit(100), pytest.raises(CannotWrite):
        train(module(), tmp_path / "checkpoints", callbacks, 2)


def _stop_at_the_end(record: object, trainer: object, searching: object, *_: object) -> None:
    if searching.step_count == STEPS - 1:  # type: ignore[attr-defined]
        raise KeyboardInterrupt
