"""Alpaca (Taori et al. 2023): 52,000 instructions, their inputs and answers, in the prompt they were made for.

It comes in one part. Instructions that occur with several inputs stay in one part of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.tasks.language.corpus import Corpus
from manticore.utils.io import read_json

FIELDS = ("instruction", "input", "output")
TASK = "Below is an instruction that describes a task"
WITH_INPUT = f"{TASK}, paired with an input that provides further context. "
WITHOUT_INPUT = f"{TASK}. "
REQUEST = "Write a response that appropriately completes the request."


def prompt(record: Mapping[str, str]) -> str:
    """Instruction, input where there is one, and answer, as the original code lays them out."""
    given = record["input"].strip()
    parts = [f"{WITH_INPUT if given else WITHOUT_INPUT}{REQUEST}", f"### Instruction:\n{record['instruction']}"]
    parts += [f"### Input:\n{given}"] if given else []
    return "\n\n".join([*parts, f"### Response:\n{record['output']}"])


def instruction(document: str) -> str:
    """What all documents of one instruction have in common."""
    return document.partition("### Instruction:\n")[2].partition("\n\n### ")[0].strip().lower()


def _rows(rows: Iterable[Any]) -> list[str]:
    whole = (record for record in rows if record["instruction"] is not None and record["output"] is not None)
    return [prompt({**record, "input": record["input"] or ""}) for record in whole]


def _file(file: Path) -> list[str]:
    held = read_json(file)
    if not isinstance(held, list):
        raise BadFile(file, "expected a list of records")
    for number, record in enumerate(held, start=1):
        if not isinstance(record, dict) or any(not isinstance(record.get(field), str) for field in FIELDS):
            raise BadFile(file, f"record {number} has no text in one of {', '.join(FIELDS)}")
    return _rows(held)


Corpus(
    name="alpaca",
    source="tatsu-lab/alpaca",
    splits=("train",),
    documents=_rows,
    files=("alpaca_data.json",),
    read=_file,
    group=instruction,
).register("Tell the next token of instructions and answers: Alpaca.")
