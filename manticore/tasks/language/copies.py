"""Sequences of random tokens that occur twice, mixed into text so that a language model learns to copy.

Text alone teaches little of it: a model whose attention was replaced by recurrent mixers can come near its parent's
loss and still fail to repeat what is in its context (arXiv 2402.01032).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from manticore.tasks.dataset import IGNORE, Examples


def with_copies(examples: Examples, share: float, seed: int) -> Examples:
    """Text with a share of its sequences replaced by tokens that are given twice.

    Such a sequence of L tokens is L // 2 tokens, drawn from the distinct tokens of all examples, without repetition
    where there are enough; the same tokens again; and the first one once more if L is odd. Only the repetition has
    labels, which are the next tokens. Sequences of fewer than 4 tokens stay as they are.

    Args:
        examples: sequences with a label for each token.
        share: of the sequences, chosen evenly in their order.
        seed: of the tokens.
    """
    count = round(share * len(examples))
    if not count:
        return examples
    rng, pool_V = np.random.default_rng(seed), np.unique(examples.flat)
    flat, labels = examples.flat.copy(), examples.labels.copy()
    for index in np.linspace(0, len(examples), count, endpoint=False).astype(int):
        start, stop = examples.offsets[index : index + 2]
        length, half = stop - start, (stop - start) // 2
        if half < 2:
            continue
        span = rng.choice(pool_V, half, replace=half > len(pool_V))
        flat[start:stop] = np.resize(span, length)
        labels[start:stop] = IGNORE
        labels[start + half : stop - 1] = flat[start + half + 1 : stop]
    return replace(examples, flat=flat, labels=labels)
