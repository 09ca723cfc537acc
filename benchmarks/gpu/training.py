"""Part `training`: steps of a DARTS search at the paper's ListOps size as `manticore search` runs them, and host stops.

Unlike in the part `step`, Lightning's loop, the transfer of batches, both optimizers, clipping and the regularizer are
included. Only steps between two records of the loggers are counted.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from rich.console import Console
from timing import synchronize

from manticore import kernels
from manticore.bench.search_step import LABELS, NAMES, VOCAB, components
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch, Example, Examples
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler
from manticore.training.options import LoopOptions
from manticore.training.search_module import SearchModule
from manticore.training.trainer import Hardware, fit

KINDS: dict[str, dict[str, Any]] = {
    "darts": {"strategy": "darts", "entropy_weight": 0.1},
    "darts, sampled paths": {"strategy": "darts", "sample_paths": True},
    "single level": {"strategy": "simultaneous"},
}


def collate(examples: list[Example]) -> Batch:
    """Sequences of one length."""
    ids = torch.from_numpy(np.stack([ids.astype(np.int64) for ids, _ in examples]))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.tensor([int(label) for _, label in examples]),
    }


class Watch(lightning.Callback):
    """Seconds of a step, and host stops by file and line, from the start of step `first` to that of step `last`."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.seconds, self.stops, self.open = 0.0, Counter[str](), ExitStack()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if module.step_count == self.first:
            synchronize()
            self.caught = self.open.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            self._warn("warn")
            self.began = time.perf_counter()
        elif module.step_count == self.last:
            self._warn("default")
            synchronize()
            self.seconds = (time.perf_counter() - self.began) / (self.last - self.first)
            self.open.close()
            stops = (warning for warning in self.caught if "synchroniz" in str(warning.message))
            self.stops.update(f"{Path(warning.filename).name}:{warning.lineno}" for warning in stops)

    def _warn(self, mode: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode(mode)


def run(recorder: Any) -> None:
    """One row for each kind of search and precision; `ok` is false if the host has waited."""
    width, layers, batch, length, steps = (16, 6, 2, 8, 5) if recorder.dry else (512, 6, 8, 2000, 30)
    kernels.install()
    rng = np.random.default_rng(0)
    rows = [(rng.integers(3, VOCAB, length).tolist(), int(rng.integers(LABELS))) for _ in range(4 * batch)]
    for precision in ("32-true",) if recorder.dry else ("bf16-mixed", "32-true"):
        for kind, options in KINDS.items():
            if not recorder.has_time(15):
                recorder.row(search=kind, precision=precision, skipped="no time")
                continue
            torch.manual_seed(0)
            space, head = SearchSpace(NAMES, stages=layers), HeadSpec("classification", VOCAB, LABELS)
            net = Supernet(components(width, layers, length), space, "mamba", head)
            loop = LoopOptions(log_every=1000)
            module = SearchModule(net, steps=1000, warmup_steps=1, batch_size=batch, loop=loop, **options)
            module.until, watch = steps, Watch(steps // 2, steps - 1)
            streams = {
                name: BatchSampler(Examples.pack(rows), batch, seed, collate)
                for seed, name in enumerate(module.streams)
            }
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "run").mkdir()
                hardware = Hardware(recorder.device, precision)
                fit(module, streams, "search", Path(folder) / "run", hardware, Console(quiet=True), [watch])
            counted = {"host_stops": dict(watch.stops), "counted_steps": watch.last - watch.first}
            recorder.row(search=kind, precision=precision, time=watch.seconds, **counted, ok=not watch.stops)
