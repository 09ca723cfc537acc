"""`python -m manticore.bench.worker CASE SIDE full|quick THREADS` prints the bytes a side needs, alone in a process."""

from __future__ import annotations

import sys

import torch
import transformers

from manticore.bench.kernels import CASES
from manticore.bench.timing import peak


def main(name: str, side: str, size: str, threads: str) -> None:
    """Set one side up and print its peak memory above what it was given."""
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(int(threads))
    case = next(case for case in CASES if case.name == name)
    case.sides[side](case.quick)()  # what is loaded and compiled once is not what a run needs
    print(peak(case.sides[side](case.size(size == "quick"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
