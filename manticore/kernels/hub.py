"""Prebuilt kernels of the Hugging Face hub, which need no compiler, and the packages of which they are builds.

With the package `kernels` (https://github.com/huggingface/kernels), a build for the versions of torch and CUDA that are
installed is downloaded: the one that transformers names, which fits its own models. Otherwise the package itself is
used, if it is installed.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

HUB_LAYERS = {"mamba_ssm": "selective_scan_fn", "causal_conv1d": "causal_conv1d_fn"}
"""By package, one of its functions: the name by which transformers' table of kernels has the build."""


@cache
def hub_module(package: str) -> Any:
    """The hub's build of a package; None without the package `kernels`, or if there is no build or no connection."""
    if package not in HUB_LAYERS or find_spec("kernels") is None:
        return None
    try:
        table = import_module("transformers.integrations.hub_kernels").get_kernel_mapping_transformers()
        repository = next(iter(table[HUB_LAYERS[package]]["cuda"].values()))
        return sys.modules[repository.load().__module__.removesuffix(".layers")]
    except Exception:
        return None


def package_function(package: str, path: str) -> Any:
    """The function at `path` of a package, such as `ops.triton.ssd_combined.NAME`; the hub's build comes first.

    A build has it under its last name, or as a layer without parameters, which is instantiated.

    Raises ImportError or AttributeError if the package lacks it.
    """
    parent, _, name = f"{package}.{path}".rpartition(".")
    built = hub_module(package)
    if built is None:
        return getattr(import_module(parent), name)
    return getattr(built, name) if hasattr(built, name) else getattr(built.layers, name)()
