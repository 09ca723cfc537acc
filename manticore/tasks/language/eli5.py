"""ELI5 (Fan et al., arXiv 1907.09190): questions people asked on Reddit, each with all its answers in one document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.tasks.language.corpus import Corpus
from manticore.tasks.language.documents import text_in


def threads(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A document for each question: the question, then its answers in their order."""
    held: dict[str, list[str]] = {}
    for question, answer in pairs:
        held.setdefault(question.strip(), []).append(answer.strip())
    return ["\n\n".join([question, *answers]) for question, answers in held.items()]


def _rows(rows: Any) -> list[str]:
    return threads(pair for pair in zip(rows["question"], rows["answer"], strict=True) if None not in pair)


def _file(file: Path) -> list[str]:
    pairs = []
    for number, line in enumerate(text_in(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            pairs.append((str(record["question"]), str(record["answer"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadFile(file, "expected a record with question and answer", number) from None
    return threads(pairs)


Corpus(
    name="eli5",
    source="sentence-transformers/eli5",
    splits=("train",),
    documents=_rows,
    files=("eli5.jsonl",),
    read=_file,
    config="pair",
).register("Tell the next token of long answers to plain questions: ELI5.")
