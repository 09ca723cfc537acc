"""The command line as tests use it: in a process of its own, or called here."""

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
    *("finetune.batch_size=16", "run.checkpoint_every=5", "run.log_every=2"),
)
SIZES = ["--task", "lra-listops", "--preset", "cpu", *(word for key in KEYS for word in ("--set", key))]
PICO = ["--models", "gpt-neo,mamba", *SIZES]


def command(*words: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """`manticore WORDS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "manticore.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MANTICORE_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment},
    )


def pico_search(out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """A search of a few seconds, in a process of its own."""
    return command("search", *PICO, "--out", str(out), *more, cache=cache)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit status, output and error output of `manticore WORDS`, run in this process."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as stopped:
        status = int(str(stopped.code or 0))
    told = capsys.readouterr()
    return status, told.out, told.err


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which `manticore WORDS` says no, after checking that it is one and that the status is 2."""
    status, _, err = call(capsys, *words)
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert err.startswith("manticore"), err
    return err
