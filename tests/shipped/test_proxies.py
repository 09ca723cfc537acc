"""The page on proxies has the tables of the shipped HybridBench and searches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.e2e
def test_the_page_on_proxies_is_that_of_the_shipped_tables() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "proxies.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "run python benchmarks/proxies.py"
