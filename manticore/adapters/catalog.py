"""The adapters of this package, registered by importing their files."""

from __future__ import annotations

from manticore.adapters import (  # noqa: F401
    corda,
    ladder,
    lora,
    lt_sft,
    more,
    more_trials,
    mos,
    neuroada,
    s2ft,
    sara,
    searched,
    sparse,
)
from manticore.adapters.base import adapters, check_needs_no_inputs, check_options

__all__ = ["adapters", "check_needs_no_inputs", "check_options"]
