"""Calls of the command line in tests: in a separate process, or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.cli import main

KEYS = (
    "run.device=cpu",
    *("task.train=2000", "task.val=200", "task.test=200", "scratch.attention.width=16", "scratch.recurrent.width=24"),
    *("search.steps=24", "search.warmup_steps=8", "finetune.steps=16", "search.batch_size=16"),
    *("finetune.batch_size=16", "finetune.init=supernet", "run.checkpoint_every=5", "run.log_every=2"),
    *("baselines.uniform=true", "baselines.random=true"),
)
SIZES = [
    "--task",
    "lra-listops",
    "--preset",
    "cpu",
    "--strategy",
    "darts",
    *(arg for key in KEYS for arg in ("--set", key)),
]
PICO = ["--models", "gpt-neo,mamba", *SIZES]


def command(*args: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """`manticore ARGS` in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "manticore.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MANTICORE_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment},
    )


def pico_search(out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """A search of a few seconds, in its own process."""
    return command("search", *PICO, "--out", str(out), *more, cache=cache)


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit status, output and error output of `manticore ARGS`, run in this process."""
    capsys.readouterr()
    try:
        status = main([str(arg) for arg in args])
    except SystemExit as stopped:
        status = int(str(stopped.code or 0))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refusal(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The error of `manticore ARGS`, after checking that it is one line and that the exit status is 2."""
    status, _, err = call(capsys, *args)
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert err.startswith("manticore"), err
    return err
