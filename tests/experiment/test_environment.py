"""Freed memory is kept where the C library can keep it, and nothing breaks where it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from manticore.experiment import environment

pytestmark = pytest.mark.slow

PROBE = """
import ctypes, resource, sys
from manticore.experiment.environment import set_malloc_thresholds
if sys.argv[1] == "keep":
    assert set_malloc_thresholds()
faults = []
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(64 << 20)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del block
print(faults[-1])
"""


@pytest.mark.skipif("glibc" not in __import__("platform").libc_ver(), reason="only glibc has this")
def test_a_block_that_comes_back_needs_no_new_pages() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", PROBE, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "leave")
    }
    assert faults["keep"] * 10 < faults["leave"]


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environment.set_malloc_thresholds() is False
