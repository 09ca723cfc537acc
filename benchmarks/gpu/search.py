"""Part `search`: a search of the shipped pair on text in bf16 to its end, and once more killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STEPS = "search.steps=80 search.warmup_steps=20 finetune.steps=40 run.checkpoint_every=10 run.log_every=1"
TINY = (
    "run.device=cpu task.train=200 task.val=40 task.test=40 scratch.attention.width=16 scratch.recurrent.width=24 "
    "search.steps=16 search.warmup_steps=2 finetune.steps=2 search.batch_size=8 finetune.batch_size=8 "
    "baselines.components=false baselines.uniform=false selection.selector=largest-weight "
    "run.checkpoint_every=2 run.log_every=1"
)


def start(recorder: Any, out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """The search, by gradients, in a process of its own."""
    if recorder.dry:
        chosen = ["--models", "gpt-neo,mamba", "--task", "lra-listops", "--preset", "cpu"]
    else:
        chosen = ["--models", "gpt-neo-nano,mamba-nano", "--task", "text", "--set", "run.precision=bf16-mixed"]
    keys = [arg for key in (TINY if recorder.dry else STEPS).split() for arg in ("--set", key)]
    chosen += ["--strategy", "darts"]
    command = [sys.executable, "-m", "manticore.cli", "search", *chosen, *keys, "--out", str(out), *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MANTICORE_CACHE": str(cache)}
    environment.pop("TRITON_INTERPRET", None)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(recorder: Any, name: str, process: subprocess.Popen[str], began: float) -> None:
    """Wait for a search and write its time and status."""
    _, error = process.communicate()
    seconds = time.monotonic() - began
    recorder.row(run=name, time=seconds, status=process.returncode, ok=process.returncode == 0, error=error[-500:])


def run(recorder: Any) -> None:
    """One search without a break, one that is killed in its search phase and resumed; compare their alphas.

    A dry run has only the second: that both are equal is law 7, which has tests of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, broken, cache = (Path(folder) / name for name in ("whole", "broken", "cache"))
        if not recorder.dry:
            began = time.monotonic()
            finish(recorder, "whole", start(recorder, whole, cache), began)
        began = time.monotonic()
        process = start(recorder, broken, cache)
        while process.poll() is None and not (broken / "checkpoints" / "search.ckpt").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed = process.returncode == -signal.SIGKILL
        recorder.row(run="killed", time=time.monotonic() - began, status=process.returncode, ok=killed)
        began = time.monotonic()
        finish(recorder, "resumed", start(recorder, broken, cache, "--resume"), began)
        texts = {run.name: (run / "alphas.jsonl").read_text() for run in (whole, broken) if run.exists()}
        last = {name: json.loads(text.splitlines()[-1]) for name, text in texts.items()}
        recorder.row(resumed_to_the_bit=len(set(texts.values())) == 1, last_alphas=last)
