"""The text that models are aligned on, as they read it. Knows nothing of files, tokenizers and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class DonorTokens:
    """The same text in another component's tokens.

    Attributes:
        ids_BL: (B, L_k), its own token ids.
        mask_BL: (B, L_k), 1 for tokens and 0 for padding; None: no padding.
        places_M3: (M, 3), whole numbers: sequence, place in base's tokens, place in these, where both places' tokens
            end at the same character.
    """

    ids_BL: Tensor
    places_M3: Tensor
    mask_BL: Tensor | None = None

    def to(self, device: torch.device | str) -> DonorTokens:
        """The same on another device."""
        mask_BL = None if self.mask_BL is None else self.mask_BL.to(device)
        return DonorTokens(self.ids_BL.to(device), self.places_M3.to(device), mask_BL)


@dataclass(frozen=True)
class CalibrationBatch:
    """A batch of calibration text.

    Attributes:
        ids_BL: (B, L), base's token ids.
        mask_BL: (B, L), 1 for tokens and 0 for padding; None: no padding.
        donor: by component, the text in its own tokens; who is not named here has base's tokenizer.
    """

    ids_BL: Tensor
    mask_BL: Tensor | None = None
    donor: Mapping[str, DonorTokens] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> CalibrationBatch:
        """The same on another device."""
        mask_BL = None if self.mask_BL is None else self.mask_BL.to(device)
        return CalibrationBatch(
            self.ids_BL.to(device), mask_BL, {name: held.to(device) for name, held in self.donor.items()}
        )
