"""Measures everything that needs a GPU, in one command of at most ten minutes.

    python benchmarks/gpu/run.py --out results.jsonl                       on the GPU
    python benchmarks/gpu/run.py --out results.jsonl --parts race step     some parts
    python benchmarks/gpu/run.py --out dry.jsonl --dry-run                 on a CPU: tiny sizes, interpreted kernels

What must travel to a bare machine with torch >= 2.11, Triton >= 3.6, transformers >= 5.17, lightning, numba and no
network: this checkout (git archive HEAD), and in a folder on PYTHONPATH the pure-Python package docstring_parser. The
race against mamba-ssm needs its extension, built beforehand for the same torch and for sm_90 alone: in a copy of its
source distribution, leave one -gencode in setup.py and run `pip wheel --no-deps --no-build-isolation .`; unpack the
wheel in a folder and give it as --baseline. Neither is part of this repository.

Each part is a process of its own with a limit of seconds. Each row is written when it is measured, as one line of JSON
with the part's name, so that a stop, a crash or a limit loses no row. The exit status is 1 if a part failed or a check
did not hold, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = ("facts", "correctness", "race", "step", "training", "search", "device_tests")
LIMITS = dict(zip(PARTS, (30, 110, 150, 90, 60, 105, 50), strict=True))
"""Parts in their order, with limits of seconds; 595 in all."""

DRY_LIMIT = 600
"""Limit of each part in a dry run, whose machine may be slow."""


class Recorder:
    """Writes rows to a file and prints them.

    Attributes:
        dry: whether this is a dry run on a CPU.
        device: `cuda`, or `cpu` in a dry run.
        limit: seconds of the part.
    """

    def __init__(self, part: str, args: argparse.Namespace) -> None:
        self.part, self.out, self.dry = part, args.out, args.dry_run
        self.device = "cpu" if self.dry else "cuda"
        self.limit = DRY_LIMIT if self.dry else LIMITS[part]
        self.deadline = time.monotonic() + self.limit

    def row(self, **values: Any) -> None:
        """Append a row. `ok=False` in it makes the command fail."""
        line = json.dumps({"part": self.part, **values}, default=str)
        with self.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(line, flush=True)

    def has_time(self, seconds: float) -> bool:
        """Whether the part may run for so many more seconds."""
        return time.monotonic() + seconds < self.deadline


def run_part(part: str, args: argparse.Namespace) -> None:
    """Run one part in this process; an exception becomes a row."""
    recorder = Recorder(part, args)
    started = time.monotonic()
    try:
        importlib.import_module(part).run(recorder)
    except Exception:
        recorder.row(ok=False, error=traceback.format_exc()[-2000:])
    recorder.row(seconds=round(time.monotonic() - started, 1))


def failed(out: Path, first_line: int) -> bool:
    """Whether a row since `first_line` has `ok` false."""
    lines = out.read_text(encoding="utf-8").splitlines()[first_line:]
    return any(json.loads(line).get("ok") is False for line in lines)


def main() -> int:
    """Run the parts one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of rows; new rows are appended")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS), help="parts to run (all)")
    parser.add_argument("--baseline", type=Path, help="folder with an importable mamba_ssm")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, kernels interpreted")
    args = parser.parse_args()
    if args.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"
    sys.path[:0] = [str(HERE), str(HERE.parents[1]), *([str(args.baseline)] if args.baseline else [])]
    import torch

    if not args.dry_run and not torch.cuda.is_available():
        print("run.py: error: no CUDA device was found; allowed without one: --dry-run", file=sys.stderr)
        return 2
    args.out.touch()
    first_line = len(args.out.read_text(encoding="utf-8").splitlines())
    context = multiprocessing.get_context("fork" if args.dry_run else "spawn")
    for part in args.parts:
        process = context.Process(target=run_part, args=(part, args))
        process.start()
        recorder = Recorder(part, args)
        process.join(recorder.limit)
        if process.is_alive():
            process.kill()
            process.join()
            recorder.row(ok=False, error=f"stopped after {recorder.limit} s")
        elif process.exitcode:
            recorder.row(ok=False, error=f"exit status {process.exitcode}")
    return int(failed(args.out, first_line))


if __name__ == "__main__":
    sys.exit(main())
