"""Compares a model of another class with the hybrid that it is a copy of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from manticore.export.granite import NoNativeClass

TOLERANCE = 1e-4
"""Largest difference of logits that counts as equal."""

SEQUENCES, LENGTH, NEW_TOKENS = 2, 80, 16
"""Random sequences that are compared, their tokens at most, and the tokens that are generated after them."""


@dataclass(frozen=True)
class Equality:
    """What two models were compared on.

    Attributes:
        length: tokens of each of the sequences.
        difference: largest difference of their logits.
    """

    length: int
    difference: float

    @property
    def summary(self) -> str:
        """A sentence for a card."""
        return (
            f"Checked before it was written: the logits of {SEQUENCES} sequences of {self.length} random tokens differ "
            f"from those of the hybrid by at most {self.difference:.1g}, and the {NEW_TOKENS} tokens that greedy "
            "generation adds to each are the same."
        )


@torch.no_grad()
def check_equal(hybrid: PreTrainedModel, native: PreTrainedModel) -> Equality:
    """Compare logits and greedy generation on random tokens. Raises NoNativeClass if they differ."""
    length = min(LENGTH, int(native.config.max_position_embeddings) - NEW_TOKENS)
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(int(native.config.vocab_size), (SEQUENCES, length), generator=generator).to(hybrid.device)
    logits = [model(input_ids=ids_BL).logits.float() for model in (hybrid, native)]
    difference = float((logits[0] - logits[1]).abs().max())
    if not difference <= TOLERANCE:
        raise NoNativeClass(f"the logits of a {type(native).__name__} differ by {difference:.1g} from the hybrid's")
    if not torch.equal(_generated(hybrid, ids_BL), _generated(native, ids_BL)):
        raise NoNativeClass(f"a {type(native).__name__} generates other tokens than the hybrid")
    return Equality(length, difference)


def _generated(model: PreTrainedModel, ids_BL: Tensor) -> Tensor:
    options = GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=0, eos_token_id=None
    )
    generated: Tensor = model.generate(ids_BL, options, attention_mask=torch.ones_like(ids_BL))
    return generated
