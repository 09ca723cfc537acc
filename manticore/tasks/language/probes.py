"""Probes of memory: copying a span, recalling one from the middle of a text, and the values of keys.

A model whose next-token predictions are good on average can still fail to reproduce what is in its context, as models
with a state of fixed size do from some length on (arXiv 2402.01032). Answers are random tokens, so a
model can only read them from the context.

Notation: N prompts of L tokens, answers of A tokens, T = L + A - 1 tokens of a prompt with its answer but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE, Examples
from manticore.tasks.mad.recall import Recall

ProbeKind = Literal["copying", "recall", "pairs"]

KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)

CUE, ANSWER = 8, 8
"""Tokens that are repeated at the end of the prompt, and tokens after them that the model must write."""

SHORTEST = 2 * CUE + ANSWER
"""Tokens of the shortest prompt."""


class Probe(NamedTuple):
    """Prompts of one kind and length, with their answers.

    Attributes:
        prompts_NL: token ids (N, L).
        answers_NA: the token ids that continue them, (N, A); A is `ANSWER`, or 1 of `pairs`.
        labels_NT: the next token at each position of a prompt and its answer, `IGNORE` where the context does not
            determine it.
    """

    prompts_NL: NDArray[np.int64]
    answers_NA: NDArray[np.int64]
    labels_NT: NDArray[np.int64]

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """Prompts with their answers but the last token, (N, T)."""
        return np.concatenate([self.prompts_NL, self.answers_NA[:, :-1]], axis=1)

    @property
    def examples(self) -> Examples:
        """Prompts with their answers as examples with a label for each token; answers are scored, not generated."""
        return Examples.from_arrays(self.input_ids.astype(np.uint32), self.labels_NT)


def make_probe(kind: ProbeKind, text_ids: Sequence[int], length: int, count: int, seed: int = 0) -> Probe:
    """Draw prompts.

    Of `copying` a prompt is random tokens followed by the first `CUE` of them; of `recall` it is a piece of the text
    with `CUE + ANSWER` random tokens at a random position, followed by the first `CUE` of them. The answer
    is the tokens after the cue in its first occurrence. Of `pairs` it is MAD's in-context recall (arXiv 2403.17844):
    pairs of a key and its value, which are random tokens of each prompt, and a key that occurred before; the answer is
    its value. A key occurs twice on average.

    Args:
        kind: which probe.
        text_ids: token ids of a text. Random tokens are drawn from its distinct tokens, without repetition in a span.
        length: tokens L of a prompt.
        count: number of prompts N.
        seed: of the draw; kind and length change it too.

    Raises ManticoreError if the prompt is shorter than `SHORTEST`, or the text is shorter than the prompt.
    """
    if length < SHORTEST:
        raise ManticoreError(f"a prompt of {length} tokens is too short for a span and its cue; at least {SHORTEST}")
    if len(text_ids) < length:
        raise ManticoreError(f"the text has {len(text_ids):,} tokens, fewer than a prompt of {length:,}")
    rng = np.random.default_rng([seed, length, KINDS.index(kind)])
    text_T, pool_V = np.asarray(text_ids, dtype=np.int64), np.unique(np.asarray(text_ids, dtype=np.int64))
    if len(pool_V) < CUE + ANSWER:
        raise ManticoreError(f"the text has {len(pool_V)} distinct tokens; at least {CUE + ANSWER} are needed")
    if kind == "pairs":
        return _pairs(rng, pool_V, length, count)
    body = length - CUE
    prompts, answers = [], []
    for _ in range(count):
        if kind == "copying":
            start = 0
            context_L = np.concatenate([rng.permutation(pool_V) for _ in range(-(-body // len(pool_V)))])[:body]
        else:
            start = int(rng.integers(body - CUE - ANSWER + 1))
            offset = int(rng.integers(len(text_T) - body + 1))
            context_L = text_T[offset : offset + body].copy()
            context_L[start : start + CUE + ANSWER] = rng.choice(pool_V, CUE + ANSWER, replace=False)
        prompts.append(np.concatenate([context_L, context_L[start : start + CUE]]))
        answers.append(context_L[start + CUE : start + CUE + ANSWER])
    answers_NA = np.stack(answers)
    labels_NT = np.full((count, length + ANSWER - 1), IGNORE)
    labels_NT[:, -ANSWER:] = answers_NA
    return Probe(np.stack(prompts), answers_NA, labels_NT)


def _pairs(rng: np.random.Generator, pool_V: NDArray[np.int64], length: int, count: int) -> Probe:
    """MAD's puzzle with its ids replaced by random tokens, others in each prompt; one more token if L is even."""
    puzzle = Recall(vocab_size=min(length // 2, len(pool_V)), seq_len=length + length % 2, train=2)
    ids_NL, targets_NL = puzzle.inputs_and_targets(puzzle.draw(rng, count, training=False), training=False)
    symbols_NV = np.stack([rng.choice(pool_V, puzzle.vocab_size, replace=False) for _ in range(count)])
    prompts_NL = np.take_along_axis(symbols_NV, ids_NL, axis=1)
    is_scored_NL = targets_NL != IGNORE
    values_NL = np.take_along_axis(symbols_NV, np.where(is_scored_NL, targets_NL, 0), axis=1)
    labels_NL = np.where(is_scored_NL, values_NL, IGNORE)
    if length % 2 == 0:
        prompts_NL = np.concatenate([rng.choice(pool_V, (count, 1)), prompts_NL], axis=1)
        labels_NL = np.concatenate([np.full((count, 1), IGNORE), labels_NL], axis=1)
    return Probe(prompts_NL, labels_NL[:, -1:], labels_NL)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text without special ones."""
    special = set(tokenizer.all_special_ids)
    return [token for token in tokenizer(text, verbose=False)["input_ids"] if token not in special]
