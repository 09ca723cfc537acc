"""The Penn Treebank as Mikolov et al. (2010) left it: lower case, numbers as N, rare words as <unk>, a sentence a line.

It does not say where its articles begin, so every hundred sentences in a row are a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manticore.tasks.language.corpus import Corpus
from manticore.tasks.language.documents import text_in

SENTENCES = 100
"""In a document."""


def blocks(sentences: Sequence[str]) -> list[str]:
    """A hundred sentences a document, a line each; words stay whole, whatever spaces surround them."""
    lines = [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]
    return ["\n".join(lines[start : start + SENTENCES]) for start in range(0, len(lines), SENTENCES)]


def _rows(rows: Any) -> list[str]:
    return blocks(rows["sentence"])


def _file(file: Path) -> list[str]:
    return blocks(text_in(file).split("\n"))


Corpus(
    name="ptb",
    source="ptb-text-only/ptb_text_only",
    splits=("train", "validation", "test"),
    documents=_rows,
    files=("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
    read=_file,
    revision="refs/convert/parquet",
).register("Tell the next token of the Wall Street Journal: the Penn Treebank in Mikolov's form.")
