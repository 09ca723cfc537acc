"""Decontamination: text without the paragraphs that occur in another text, so that no model is scored on training data.

A paragraph is dropped if it shares a run of 13 words with the other text, the common criterion (GPT-3, arXiv
2005.14165, appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from manticore.tasks.language.documents import PARAGRAPH_BREAK
from manticore.utils.text_files import canonical_text

RUN = 13
"""Number of words of a run, too large for two texts to share a run by chance."""

_WORD = re.compile(r"\w+")


def drop_overlapping(documents: Iterable[str], reference: Iterable[str]) -> list[str]:
    """The documents without the paragraphs that share a run of words with a reference document.

    Documents without any paragraph left are dropped.
    """
    known = {run for document in reference for run in _runs(document)}
    kept = []
    for document in documents:
        paragraphs = PARAGRAPH_BREAK.split(document)
        clean = [paragraph for paragraph in paragraphs if not any(run in known for run in _runs(paragraph))]
        if len(clean) == len(paragraphs):
            kept.append(document)
        elif any(paragraph.strip() for paragraph in clean):
            kept.append("\n\n".join(clean))
    return kept


def _runs(text: str) -> Iterator[int]:
    """A hash of every run of words."""
    tokens = _WORD.findall(canonical_text(text).lower())
    return (hash(tuple(tokens[start : start + RUN])) for start in range(len(tokens) - RUN + 1))
