"""Time of a prompt, tokens per second and bytes of the cache from 512 to 32,768 tokens, of two components and hybrids.

    python benchmarks/long_context.py [--json FILE] [--picture FILE]

The components are a Llama (4 layers of width 64, 4 heads) and a Mamba (4 layers of width 64, state 16) of transformers'
classes with random weights and 256 tokens of vocabulary; the hybrids have 4 stages of one layer. One thread. Times are
those of the processor; other programs on the machine slow it down by its caches and clock rates. Every measurement is
written at once, and one that is in the file is not repeated.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from manticore import kernels
from manticore.components import BlockSize, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.experiment.environment import environment_info, set_malloc_thresholds
from manticore.modeling.cache import cached_tensors
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.report.charts.plane import Area, grid
from manticore.report.charts.svg import drawing, el, joined, standalone
from manticore.report.rendering import style_sheet
from manticore.tasks.task import HeadSpec
from manticore.utils.io import read_json, write_json, write_text

LENGTHS = tuple(512 * 2**power for power in range(7))
A, M = "llama", "mamba"
PATHS = {
    "llama": (A, A, A, A),
    "llama · mamba · llama · mamba": (A, M, A, M),
    "mamba · mamba · mamba · llama": (M, M, M, A),
    "llama · llama · mamba · mamba": (A, A, M, M),
    "mamba": (M, M, M, M),
}
STEPS = 16
QUANTITIES = {
    "prefill_seconds": "seconds of a prompt",
    "tokens_per_second": "tokens per second",
    "cache_bytes": "MB of the cache",
}


def supernet() -> Supernet:
    """Both components, cut into 4 stages of a layer."""
    torch.manual_seed(0)
    scratch = Scratch(BlockSize(64, 4, heads=4), BlockSize(64, 4, state_size=16), 256, LENGTHS[-1] + STEPS)
    parts = [load(ComponentSpec(name, name, init="scratch"), scratch) for name in (A, M)]
    return Supernet(parts, SearchSpace([A, M], stages=4), A, HeadSpec()).eval()


def alone_or_hybrid(net: Supernet, path: Sequence[str]) -> Any:
    """The hybrid on a path; of a single component with its own embedding and without projectors."""
    if set(path) == {M}:
        alone = Supernet([net.components[M]], net.space, M, HeadSpec(), candidates=[M])
        return discretize(alone.eval(), path)
    return discretize(net, path)


def measure(model: Any, length: int) -> dict[str, float]:
    """Prompt, steps and cache at one length."""
    ids_1L = torch.randint(0, 256, (1, length))
    with torch.no_grad():
        model(ids_1L[:, :64], use_cache=True, logits_to_keep=1)
        started = time.process_time()
        cache = model(ids_1L, use_cache=True, logits_to_keep=1).past_key_values
        prefill = time.process_time() - started
        size = sum(t.numel() * t.element_size() for layer in cache.layers for t in cached_tensors(layer))
        steps = []
        for _ in range(STEPS):
            started = time.process_time()
            model(ids_1L[:, -1:], past_key_values=cache, use_cache=True)
            steps.append(time.process_time() - started)
    return {"prefill_seconds": prefill, "tokens_per_second": 1 / min(steps), "cache_bytes": float(size)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The measurements in Markdown."""
    lines = []
    for quantity, title in QUANTITIES.items():
        lines += [f"\n| {title} | {' | '.join(f'{length:,}' for length in LENGTHS)} |", "| --- |" + " ---: |" * 7]
        for name in PATHS:
            by_length = {row["length"]: row[quantity] for row in rows if row["model"] == name}
            scale = 1e6 if quantity == "cache_bytes" else 1
            cells = (f"{by_length[n] / scale:.3g}" if n in by_length else "" for n in LENGTHS)
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Three panels with logarithmic axes, a line for each model, as an SVG file."""
    width, height = 300, 260
    panels = [
        el("g", _panel(rows, quantity, title, width, height), transform=f"translate({index * width} 0)")
        for index, (quantity, title) in enumerate(QUANTITIES.items())
    ]
    names = [
        joined(
            el("path", d=f"M{40 + 300 * (i % 3)} {height + 12 + 18 * (i // 3)}h18", stroke=_color(i), stroke_width=2),
            el("text", name, x=64 + 300 * (i % 3), y=height + 16 + 18 * (i // 3), class_="tick"),
        )
        for i, name in enumerate(PATHS)
    ]
    label = "time of a prompt, tokens per second and bytes of the cache by the number of tokens"
    whole = drawing(3 * width, height + 46, label, *panels, *names, class_="chart")
    return standalone(whole, style_sheet())


def _color(index: int) -> str:
    return f"var(--c{index})"


def _panel(rows: Sequence[dict[str, Any]], quantity: str, title: str, width: float, height: float) -> Markup:
    scale = 1e-6 if quantity == "cache_bytes" else 1.0
    values = [row[quantity] * scale for row in rows]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    area = Area(44, 30, width - 12, height - 24)

    def x(length: float) -> float:
        return area.left + math.log2(length / LENGTHS[0]) / 6 * (area.right - area.left)

    def y(value: float) -> float:
        return area.bottom - (math.log10(value) - low) / max(1, high - low) * (area.bottom - area.top)

    lines = []
    for index, name in enumerate(PATHS):
        points = [(row["length"], row[quantity] * scale) for row in rows if row["model"] == name]
        through = " L".join(f"{x(length):.1f} {y(value):.1f}" for length, value in sorted(points))
        if points:
            path = {"d": f"M{through}", "stroke": _color(index), "fill": "none", "stroke_width": 2}
            lines.append(el("path", el("title", name), **path))
    columns = [(x(length), f"{length // 1024}k" if length >= 1024 else "512") for length in LENGTHS[::2]]
    ticks = [(y(10.0**power), f"{10.0**power:g}") for power in range(low, high + 1)]
    return joined(grid(area, columns, ticks), *lines, el("text", title, x=area.left, y=16, class_="name bold"))


def main() -> None:
    """Measure what is not in the file yet, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/long-context-cpu.json"))
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_malloc_thresholds()
    kernels.install()
    rows: list[dict[str, Any]] = read_json(args.json)["rows"] if args.json.exists() else []
    done, net = {(row["model"], row["length"]) for row in rows}, supernet()
    for length in LENGTHS:
        for name, path in PATHS.items():
            if (name, length) not in done:
                rows.append({"model": name, "length": length, **measure(alone_or_hybrid(net, path), length)})
                write_json(args.json, {"machine": {**environment_info(), "threads": 1}, "rows": rows})
    print(table(rows))
    if args.picture is not None:
        write_text(args.picture, picture(rows))


if __name__ == "__main__":
    main()
