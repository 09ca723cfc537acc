"""`mc.search` passes a user's callbacks, logger and flags through all phases, and they change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.loggers import CSVLogger

import manticore as mc
from manticore.errors import ManticoreError
from tests.helpers.toy_task import NAME, QUICK

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("toy_task")]


class Steps(lightning.Callback):
    """Counts the steps of each phase, and those whose loss it can read."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self.with_loss: dict[str, int] = {}

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.count[module.phase] = self.count.get(module.phase, 0) + 1
        if "loss" in trainer.callback_metrics:
            self.with_loss[module.phase] = self.with_loss.get(module.phase, 0) + 1


def search(out: Path, **more: Any) -> mc.Result:
    return mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), NAME, out=out, quiet=True, **QUICK, **more)


def test_callbacks_and_loggers_see_every_phase(tmp_path: Path) -> None:
    steps, logger = Steps(), CSVLogger(tmp_path, "mine", version="")
    search(tmp_path / "with", callbacks=[steps], logger=logger, trainer={"detect_anomaly": False})
    phases = {"alone gpt-neo", "alone mamba", "search", "fine-tune", "uniform mixture", "random path"}
    assert set(steps.count) == phases
    assert steps.with_loss == steps.count
    assert (steps.count["search"], steps.count["fine-tune"]) == (6, 3)
    head = (tmp_path / "mine" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {name.rpartition("/")[0] for name in head if name != "step"} == phases
    search(tmp_path / "without")
    for name in ("alphas.jsonl", "architecture.json", "hybrid/model.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name


def test_a_flag_that_has_no_effect_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"accumulate_grad_batches.* use run\.micro_batch_size"):
        search(tmp_path / "run", trainer={"accumulate_grad_batches": 2})
    assert not list(tmp_path.iterdir())
