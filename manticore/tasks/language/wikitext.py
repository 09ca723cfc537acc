"""WikiText-2 and WikiText-103 (Merity et al., arXiv 1609.07843), raw: good articles of Wikipedia, a document each."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from manticore.tasks.language.corpus import Corpus
from manticore.tasks.language.documents import text_in

TITLE = re.compile(r"^ = [^=].* = ?$", re.MULTILINE)
"""The line an article begins with; sections have more signs of equality."""


def articles(text: str) -> list[str]:
    """The articles of a part, as they are written, markers of the tokenization (` @-@ `) and all."""
    starts = [match.start() for match in TITLE.finditer(text)]
    return [text[start:end].strip() for start, end in pairwise([*starts, len(text)])]


def _rows(rows: Any) -> list[str]:
    return articles("".join(rows["text"]))


def _file(file: Path) -> list[str]:
    return articles(text_in(file))


for _name, _config in (("wikitext", "wikitext-2-raw-v1"), ("wikitext-103", "wikitext-103-raw-v1")):
    Corpus(
        name=_name,
        source="Salesforce/wikitext",
        splits=("train", "validation", "test"),
        documents=_rows,
        files=("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"),
        read=_file,
        config=_config,
    ).register(f"Tell the next token of Wikipedia's good articles: {_config}.")
