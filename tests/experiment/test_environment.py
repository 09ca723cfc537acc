"""Freed memory is kept for the next allocation with glibc; on other platforms nothing is set."""

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


@pytest.mark.skipif("glibc" not in __import__("platform").libc_ver(), reason="only glibc has these thresholds")
def test_an_allocation_of_freed_memory_causes_few_page_faults() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", PROBE, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "leave")
    }
    assert faults["keep"] * 10 < faults["leave"]


def test_thresholds_are_not_set_on_other_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environment.set_malloc_thresholds() is False
