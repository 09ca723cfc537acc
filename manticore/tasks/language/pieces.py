"""Cuts a long text into pieces whose tokens, one piece after another, are those of the whole text.

A tokenizer needs about 230 bytes of memory for a character while it works. A fast tokenizer of Hugging Face splits a
text by rules into words, and each word into tokens by itself. A text can therefore be cut between two words, unless the
rules read beyond the cut, such as those that put a blank before every text. Cuts are checked on the text around them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from manticore.errors import ManticoreError
from manticore.tasks.language.documents import MOST_LINE

PIECE = 250_000
"""Most characters of a piece, where a cut is possible."""

WINDOW = 1_000
"""Characters on each side of a cut that are tokenized to check it."""

TRIES = 8
"""Number of possible cuts that are checked for each piece."""

GAP = re.compile(r"(?<=\S)\s")
"""Where a text may be cut: before a blank that follows another character."""


def pieces(text: str, tokenizer: Any) -> Iterator[str]:
    """The pieces of a text, in order: at least one, and their concatenation is the text.

    Args:
        text: the text.
        tokenizer: a fast Hugging Face tokenizer.

    Raises ManticoreError if the tokenizer allows no cut in `MOST_LINE` characters.
    """
    start = 0
    while len(text) - start > PIECE:
        stop = _next_cut(text, start, tokenizer)
        yield text[start:stop]
        start = stop
    if start < len(text) or not text:
        yield text[start:]


def _next_cut(text: str, start: int, tokenizer: Any) -> int:
    """The end of the piece that begins at `start`: the last possible cut within `PIECE` characters, or the next one."""
    for stop in range(start + PIECE, start + PIECE + MOST_LINE + 1, PIECE):
        gaps = deque((gap.start() for gap in GAP.finditer(text, max(start + 1, stop - PIECE), stop)), TRIES)
        for cut in reversed(gaps):
            if _is_safe(text, cut, tokenizer):
                return cut
        if stop >= len(text):
            return len(text)
    raise ManticoreError(
        f"a text of {len(text):,} characters, of which the tokenizer must read more than {MOST_LINE:,} at once; let it "
        "be cut into passages, as in text@passage=8192, or break it into documents"
    )


def _is_safe(text: str, cut: int, tokenizer: Any) -> bool:
    """Whether a cut is between two words, and the tokens on both sides are those of the text without the cut."""
    left, right = text[max(0, cut - WINDOW) : cut], text[cut : cut + WINDOW]
    both = tokenizer([left + right, left, right], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    whole, first, second = both["input_ids"]
    spans, first_spans, second_spans = both["offset_mapping"]
    moved = [(begin + len(left), end + len(left)) for begin, end in second_spans]
    if not first or not second or whole != first + second or spans != first_spans + moved:
        return False
    word_ids = both.word_ids(0)
    return bool(word_ids[len(first) - 1] != word_ids[len(first)])
