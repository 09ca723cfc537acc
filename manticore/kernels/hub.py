"""Prebuilt kernels of the Hugging Face hub, which need no compiler, and the packages of which they are builds.

With the package `kernels` (https://github.com/huggingface/kernels), transformers downloads a build for the versions of
torch and CUDA that are installed, and names the revision. Otherwise the package itself is used, if it is installed.
"""

from __future__ import annotations

from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from typing import Any

HUB_NAMES = {"mamba_ssm": "mamba-ssm", "causal_conv1d": "causal-conv1d"}
"""By package, its name among transformers' kernels of the hub."""


@cache
def hub_module(package: str) -> Any:
    """The hub's build of a package; None without the package `kernels`, or if there is no build or no connection."""
    if package not in HUB_NAMES or find_spec("kernels") is None:
        return None
    try:
        return import_module("transformers.integrations.hub_kernels").lazy_load_kernel(HUB_NAMES[package])
    except Exception:
        return None


def package_function(package: str, path: str) -> Any:
    """The function at `path` of a package, such as `ops.triton.ssd_combined.NAME`; the hub's build comes first.

    Raises ImportError or AttributeError if the package lacks it.
    """
    built = hub_module(package)
    if built is not None:
        return reduce(getattr, path.split("."), built)
    module, _, name = f"{package}.{path}".rpartition(".")
    return getattr(import_module(module), name)
