"""Runs cases, and tells ratios and whether each promise is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console

from manticore.bench.case import Case, Promise
from manticore.bench.timing import peak_elsewhere, race, ratio
from manticore.kernels.dispatch import importable
from manticore.utils.console import info

Row = dict[str, Any]


def run_cases(cases: Sequence[Case], repeats: int, budget: float, quick: bool, console: Console) -> list[Row]:
    """Every case's sides, timed in turns and weighed in processes of their own; told on `console` as they come."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    rows: list[Row] = []
    for case in cases:
        info(console, f"{case.name}: {case.about}")
        rows += run_case(case, repeats, budget, quick)
    return rows


def run_case(case: Case, repeats: int, budget: float, quick: bool) -> list[Row]:
    """One row for each side: seconds, peak bytes, and how ours compares."""
    absent = {side: package for side, package in case.needs.items() if not importable(package)}
    present = {side: setup for side, setup in case.sides.items() if side not in absent}
    size = case.size(quick)
    timings = race({side: setup(size) for side, setup in present.items()}, repeats, budget)
    words = ("quick" if quick else "full", str(torch.get_num_threads()))
    peaks = {side: peak_elsewhere(case.name, side, *words) for side in present}
    ours = next(iter(case.sides))
    rows: list[Row] = []
    for side in case.sides:
        row: Row = {"case": case.name, "side": side, "size": dict(size)}
        if side in absent:
            rows.append(row | {"absent": f"pip install {absent[side]}"})
            continue
        row |= {"seconds": timings[side].seconds, "repeats": timings[side].repeats, "peak_bytes": peaks[side]}
        if side != ours:
            faster = ratio(timings[side], timings[ours])
            row |= _compare(faster, row, rows[0], case.promises)
        rows.append(row)
    return rows


def _compare(faster: float, row: Row, ours: Row, promises: Mapping[str, Promise]) -> Row:
    """How many times faster ours is, what share of the memory it takes, and whether that was promised."""
    promise = promises.get(row["side"], Promise())
    share = ours["peak_bytes"] / row["peak_bytes"] if ours["peak_bytes"] and row["peak_bytes"] else None
    kept = [faster >= promise.time] if promise.time else []
    kept += [share <= promise.memory] if promise.memory and share is not None else []
    promised = {"time": promise.time, "memory": promise.memory}
    return {"times_faster": faster, "memory_share": share, "promised": promised, "kept": all(kept) if kept else None}
