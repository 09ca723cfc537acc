"""Probes of generation: copying a span, and recalling one from the middle of a text.

A model whose next-token predictions are good on average can still fail to reproduce what is in its context, as models
with a state of fixed size do from some length on (arXiv 2402.01032). Answers are random tokens, so a
model can only read them from the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError

ProbeKind = Literal["copying", "recall"]

CUE, ANSWER = 8, 8
"""Tokens that are repeated at the end of the prompt, and tokens after them that the model must write."""

SHORTEST = 2 * CUE + ANSWER
"""Tokens of the shortest prompt."""


class Probe(NamedTuple):
    """Prompts of one kind and length, with their answers.

    Attributes:
        prompts_NL: token ids (N, L).
        answers_NA: the token ids that continue them, (N, ANSWER).
    """

    prompts_NL: NDArray[np.int64]
    answers_NA: NDArray[np.int64]


def make_probe(kind: ProbeKind, text_ids: Sequence[int], length: int, count: int, seed: int = 0) -> Probe:
    """Draw prompts.

    Of `copying` a prompt is random tokens followed by the first `CUE` of them; of `recall` it is a piece of the text
    with `CUE + ANSWER` random tokens at a random position, followed by the first `CUE` of them. The answer
    is the tokens after the cue in its first occurrence.

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
    rng = np.random.default_rng([seed, length, kind == "recall"])
    text_T, pool_V = np.asarray(text_ids, dtype=np.int64), np.unique(np.asarray(text_ids, dtype=np.int64))
    if len(pool_V) < CUE + ANSWER:
        raise ManticoreError(f"the text has {len(pool_V)} distinct tokens; at least {CUE + ANSWER} are needed")
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
    return Probe(np.stack(prompts), np.stack(answers))
