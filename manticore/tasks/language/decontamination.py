"""Text without what another text has too, so that a model is never scored on what it learnt from. Knows no files.

A paragraph goes if it shares a run of 13 words with the other text, the usual measure (GPT-3, arXiv 2005.14165,
appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from manticore.tasks.language.documents import PARAGRAPHS

RUN = 13
"""Words that two texts do not share by chance."""

_WORD = re.compile(r"\w+")


def drop_overlapping(documents: Iterable[str], others: Iterable[str]) -> list[str]:
    """The documents without the paragraphs that share a run of words with any of the others; empty ones are gone."""
    known = {run for other in others for run in _runs(other)}
    kept = []
    for document in documents:
        parts = PARAGRAPHS.split(document)
        left = [part for part in parts if not any(run in known for run in _runs(part))]
        if len(left) == len(parts):
            kept.append(document)
        elif any(part.strip() for part in left):
            kept.append("\n\n".join(left))
    return kept


def _runs(text: str) -> Iterator[int]:
    """A hash of every run of words."""
    words = _WORD.findall(text.lower())
    return (hash(tuple(words[start : start + RUN])) for start in range(len(words) - RUN + 1))
