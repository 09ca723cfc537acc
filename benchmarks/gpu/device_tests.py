"""Part `device_tests`: the tests of the Triton kernels, on the GPU; collected but not run in a dry run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run(recorder: Any) -> None:
    """Run pytest in a process of its own, without the tests that draw sizes, each of which is compiled."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "python_functions=check_*"]
    more = ["--collect-only"] if recorder.dry else ["-k", "not precision and not where_delta"]
    command += [*more, "tests/kernels/test_triton.py"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    recorder.row(status=process.returncode, ok=process.returncode == 0, output=process.stdout[-1500:])
