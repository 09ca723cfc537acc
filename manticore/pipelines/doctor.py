"""`manticore doctor`: what this installation has on this machine, what is missing, and the command that gets it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from huggingface_hub import constants, get_token
from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

import manticore
from manticore.errors import ManticoreError
from manticore.experiment.environment import environment_info
from manticore.kernels import install, uninstall
from manticore.kernels.dispatch import BACKENDS, OPERATIONS, explain_choice, importable
from manticore.kernels.hf_patches.install import is_installed
from manticore.tasks.options import choose_preset
from manticore.utils.formatting import byte_size, counted
from manticore.utils.hub import hub_answers
from manticore.utils.io import cache_folder

DISTRIBUTION = "manticore-hybrids"

PROBE = ("EleutherAI/gpt-neo-125m", "config.json")
"""Repository and file of the hub that are requested to see whether it answers."""

LEAST_FREE = 2 * 2**30
"""Bytes of free disk below which a warning is printed: weights, checkpoints and caches of small models need about
that."""


@dataclass(frozen=True)
class Extra:
    """An optional part: the packages of one extra in pyproject.toml.

    Attributes:
        purpose: what it gives.
        packages: names of modules that must be importable.
        needs_cuda: it is of use with a CUDA device only.
    """

    purpose: str
    packages: tuple[str, ...]
    needs_cuda: bool = False


EXTRAS = {
    "cuda": Extra("prebuilt CUDA kernels of the hub", ("kernels",), needs_cuda=True),
    "cuda-build": Extra("compiled CUDA kernels of Mamba", ("mamba_ssm", "causal_conv1d"), needs_cuda=True),
    "eval": Extra("tasks of lm-evaluation-harness", ("lm_eval", "accelerate")),
    "adapters": Extra("LoRA and other adapters", ("peft",)),
    "loggers": Extra("experiment trackers for --logger", ("wandb", "mlflow", "trackio")),
    "gguf": Extra("models in GGUF files", ("gguf", "accelerate")),
    "quantize": Extra("exports with integers as weights, with torchao", ("torchao",)),
    "ray": Extra("trials on a Ray cluster", ("ray",)),
    "slurm": Extra("trials as jobs of SLURM", ("submitit",)),
    "bench": Extra("kernels of mambapy, for bench kernels", ("mambapy",)),
    "notebooks": Extra("JupyterLab and figures for the tutorials", ("jupyterlab", "matplotlib")),
}
"""Optional parts for users, by extra."""


@dataclass
class Report:
    """Lines of the report, and the problems that they show.

    Attributes:
        lines: all lines so far.
        problems: sentences with a remedy.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def section(self, title: str, rows: Iterator[tuple[str, str]]) -> None:
        """Add a title, and a line for each pair of a name and a text."""
        pairs = list(rows)
        width = max((len(name) for name, _ in pairs), default=0)
        self.lines += ["", title, *(f"  {name:{width}}  {text}".rstrip() for name, text in pairs)]


def run(hub: bool = True) -> str:
    """The report as text. The home folder is written as `~`, and no token is printed.

    Args:
        hub: send one request to the Hugging Face hub, which takes up to 10 seconds where it does not answer.
    """
    report = Report([f"manticore {manticore.__version__} in {_tilde(Path(manticore.__file__).parent)}"])
    report.section("versions", _versions(report))
    report.section("devices", _devices())
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        report.section(f"kernels on {device}", _kernels(torch.device(device)))
    report.section("kernels in transformers", _patches(report))
    report.section("optional parts", _extras())
    report.section("folders", _folders(report))
    report.section("Hugging Face hub", _hub(report, hub))
    count = len(report.problems)
    report.lines += ["", f"{count or 'no'} {'problem' if count == 1 else 'problems'}"]
    report.lines += [f"  {problem}" for problem in report.problems]
    return "\n".join(report.lines)


def _versions(report: Report) -> Iterator[tuple[str, str]]:
    """Python, and every required package with its version and the versions that are allowed."""
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    try:
        requirements = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        report.problems.append("the package is not installed, only on the path: pip install -e . in the checkout")
        return
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            present = version(requirement.name)
        except PackageNotFoundError:
            present = "missing"
        yield requirement.name, f"{present}  ({requirement.specifier})"
        if not _fits(present, requirement):
            report.problems.append(
                f"{requirement.name} {present} is not {requirement.specifier}: pip install '{requirement}'"
            )


def _fits(present: str, requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(present), prereleases=True)
    except InvalidVersion:
        return False


def _devices() -> Iterator[tuple[str, str]]:
    info = environment_info()
    units = f"{counted(info['cores'], 'core')}, {counted(torch.get_num_threads(), 'thread')}"
    yield "cpu", f"{info['cpu']}, {units}, {_memory()}"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{properties.name}, {byte_size(properties.total_memory)}, CUDA {torch.version.cuda}"
    if not torch.cuda.device_count():
        yield "gpu", "none that torch sees"
    preset, reason = choose_preset("auto")
    yield "preset", f"auto is {preset}: {reason}"


def _kernels(device: torch.device) -> Iterator[tuple[str, str]]:
    """The backend of each operation on a device, and why those before it are not taken."""
    tensors = {"x": torch.zeros(1, device=device)}
    for operation in OPERATIONS:
        choices = explain_choice(operation, tensors)
        chosen = next(index for index, (_, reason) in enumerate(choices) if reason.startswith("chosen: "))
        backend, reason = choices[chosen]
        yield operation, f"{backend}: {reason.removeprefix('chosen: ').removesuffix('.')}"
        for faster, against in choices[:chosen]:
            if against.startswith("it has no "):
                continue
            devices = BACKENDS[faster].devices
            elsewhere = devices is not None and device.type not in devices
            reason = f"it runs on {' and '.join(sorted(devices or ()))} alone" if elsewhere else against
            yield "", f"not {faster}: {reason.removesuffix('.')}"


def _patches(report: Report) -> Iterator[tuple[str, str]]:
    """Whether this version of transformers takes the kernels."""
    was_installed = is_installed()
    try:
        install()
    except ManticoreError as error:
        report.problems.append(f"transformers runs without the kernels: {error}")
        yield "models", "transformers' own"
        return
    if not was_installed:
        uninstall()
    yield "models", "Mamba, Falcon Mamba, Mamba-2 and GPT-Neo run these kernels; other models transformers' own"


def _extras() -> Iterator[tuple[str, str]]:
    for name, extra in EXTRAS.items():
        missing = [package for package in extra.packages if not importable(package)]
        state = f"missing ({', '.join(missing)}): pip install '{DISTRIBUTION}[{name}]'" if missing else "installed"
        if missing and extra.needs_cuda and not torch.cuda.is_available():
            state = "not needed: torch sees no CUDA device"
        yield name, f"{extra.purpose}: {state}"


def _folders(report: Report) -> Iterator[tuple[str, str]]:
    folders = {
        "generated data": (cache_folder(), "MANTICORE_CACHE"),
        "models of the hub": (Path(constants.HF_HUB_CACHE), "HF_HOME"),
        "working folder": (Path.cwd(), ""),
    }
    for name, (path, variable) in folders.items():
        existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
        free, writable = shutil.disk_usage(existing).free, os.access(existing, os.W_OK | os.X_OK)
        source = f", set by {variable}" if variable in os.environ else ""
        yield name, f"{_tilde(path)}{source}: {byte_size(free)} free{'' if writable else ', not writable'}"
        remedy = f"; point {variable} at another folder" if variable else "; change to another folder"
        if not writable:
            report.problems.append(f"{_tilde(path)} is not writable{remedy}")
        elif free < LEAST_FREE:
            report.problems.append(f"{_tilde(path)} has {byte_size(free)} of free disk{remedy}")


def _hub(report: Report, request: bool) -> Iterator[tuple[str, str]]:
    yield "address", constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        yield "reachable", "not tried: HF_HUB_OFFLINE is set; models come from the cache"
    elif not request:
        yield "reachable", "not tried"
    elif hub_answers(*PROBE):
        yield "reachable", "yes"
    else:
        yield "reachable", "no; cached models, local folders and the shipped models work"
        report.problems.append(
            f"{constants.ENDPOINT} does not answer: set HF_ENDPOINT to a mirror or HTTPS_PROXY to a proxy, "
            "or work with --models gpt-neo-nano,mamba-nano, which are shipped"
        )
    yield "token", "present" if get_token() else "none; private models and push need one: hf auth login"


def _memory() -> str:
    """Memory of the machine, where the system reports it."""
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        return "memory unknown"
    return f"{byte_size(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} of memory"


def _tilde(path: Path) -> str:
    """A path with the home folder as `~`."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)
