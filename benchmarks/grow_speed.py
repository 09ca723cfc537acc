"""Time of a prompt, tokens per second and bytes of the cache of a parent and of hybrids grown from it.

    python benchmarks/grow_speed.py smollm2-instruct runs/half [FOLDER ...] [--lengths N ...] --json FILE

The first model is the parent, and the others are compared with it. All models run in one process in turns, with one
thread, in float32. Times are those of the processor; other programs on the machine slow it down by its caches and
clock rates. Every measurement is written at once, and one that is in the file is not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from long_context import measure

from manticore import kernels
from manticore.experiment.environment import environment_info, set_malloc_thresholds
from manticore.export.load import load_language_model
from manticore.utils.io import read_json, write_json

TITLES = """
| tokens | model | prompt, s | as the parent's | tokens per second | as the parent's | cache, MB | of the parent's |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def table_row(row: dict[str, Any], parent: dict[str, Any]) -> str:
    """A row of the table, with the ratios to the parent."""
    ratios = {name: row[name] / parent[name] for name in ("prefill_seconds", "tokens_per_second", "cache_bytes")}
    return (
        f"| {row['length']:,} | {row['model']} | {row['prefill_seconds']:.2f} | {ratios['prefill_seconds']:.2f} | "
        f"{row['tokens_per_second']:.1f} | {ratios['tokens_per_second']:.2f} | "
        f"{row['cache_bytes'] / 1e6:.1f} | {ratios['cache_bytes']:.0%} |"
    )


def main() -> None:
    """Measure what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_malloc_thresholds()
    kernels.install()
    rows: list[dict[str, Any]] = read_json(args.json)["rows"] if args.json.exists() else []
    done = {(row["model"], row["length"]) for row in rows}
    models = {source: load_language_model(source)[0].eval() for source in args.models}
    for length in args.lengths:
        for source, model in models.items():
            if (name := Path(source).name, length) not in done:
                rows.append({"model": name, "length": length, **measure(model, length)})
                write_json(args.json, {"machine": {**environment_info(), "threads": 1}, "rows": rows})
    parents = {row["length"]: row for row in rows if row["model"] == Path(args.models[0]).name}
    print(TITLES)
    for each in sorted(rows, key=lambda row: row["length"]):
        print(table_row(each, parents[each["length"]]))


if __name__ == "__main__":
    main()
