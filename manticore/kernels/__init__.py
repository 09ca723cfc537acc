"""Kernels for state space models and attention, and patches that make transformers use them.

Compilers and accelerator packages are imported when a kernel first runs.
"""

from manticore.kernels.dispatch import BACKENDS, serving_backends
from manticore.kernels.hf_patches.install import install, installed, is_installed, remains_installed, uninstall
from manticore.kernels.library import register_operators
from manticore.kernels.ops import (
    causal_conv1d,
    causal_conv1d_update,
    selective_scan,
    selective_state_update,
    ssd_scan,
)

register_operators()

__all__ = [
    "BACKENDS",
    "causal_conv1d",
    "causal_conv1d_update",
    "install",
    "installed",
    "is_installed",
    "remains_installed",
    "selective_scan",
    "selective_state_update",
    "serving_backends",
    "ssd_scan",
    "uninstall",
]
