"""Compares a model of another class, or with quantized weights, with the hybrid that it is made of."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Outputs:
    """What a model computes on random tokens.

    Attributes:
        logits: of each of the sequences.
        generated: token ids with those that greedy generation adds; None for a model that predicts labels, or reads
            no longer sequences.
    """

    logits: Tensor
    generated: Tensor | None


def check_equal(hybrid: PreTrainedModel, native: PreTrainedModel) -> Equality:
    """Compare logits and greedy generation on random tokens. Raises NoNativeClass if they differ."""
    length = compared_length(native)
    difference, same_tokens = differences(outputs(hybrid, length), outputs(native, length))
    if not difference <= TOLERANCE:
        raise NoNativeClass(f"the logits of a {type(native).__name__} differ by {difference:.1g} from the hybrid's")
    if not same_tokens:
        raise NoNativeClass(f"a {type(native).__name__} generates other tokens than the hybrid")
    return Equality(length, difference)


def compared_length(model: PreTrainedModel) -> int:
    """Tokens of each sequence that a model is compared on, so that it can read those that are generated too."""
    return int(min(LENGTH, _longest(model) - NEW_TOKENS * _generates(model)))


def _longest(model: PreTrainedModel) -> float:
    return float(getattr(model.config, "max_position_embeddings", math.inf))


def _generates(model: PreTrainedModel) -> bool:
    """Whether the generation of a model is compared: it predicts tokens, and can read enough of them."""
    return bool(model.can_generate()) and _longest(model) > NEW_TOKENS


@torch.no_grad()
def outputs(model: PreTrainedModel, length: int) -> Outputs:
    """Logits, and greedy generation of a language model, on the same random tokens for every model."""
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(int(model.config.vocab_size), (SEQUENCES, length), generator=generator).to(model.device)
    logits = model(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL)).logits.float()
    return Outputs(logits, _generated(model, ids_BL) if _generates(model) else None)


def differences(first: Outputs, second: Outputs) -> tuple[float, bool]:
    """The largest difference of the logits of two models, and whether they generate the same tokens."""
    same = first.generated is None or second.generated is None or torch.equal(first.generated, second.generated)
    return float((first.logits - second.logits).abs().max()), same


def _generated(model: PreTrainedModel, ids_BL: Tensor) -> Tensor:
    options = GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=0, eos_token_id=None
    )
    generated: Tensor = model.generate(ids_BL, options, attention_mask=torch.ones_like(ids_BL))
    return generated
