"""Projector sets: P, Q and bypasses of one base and its donor components, as a folder.

Knows nothing of how they were fitted. A set fits the weights, cuts and widths it was made for and nothing else; whoever
reads one into a supernet is told by name what does not fit. `projectors/README.md` fixes the form.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from manticore.alignment.projector_checks import FORMAT, check_config, shapes
from manticore.components import Component
from manticore.errors import BadFile, ManticoreError
from manticore.modeling.projectors import NOT_OWN
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.utils.io import atomic_dir, read_json, write_json, write_text


def weight_hash(model: nn.Module) -> str:
    """Blake2b over names, types, shapes and bytes of a model's parameters, sorted by name; the same in any process."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"blake2b:{digest.hexdigest()}"


def describe_projector_set(supernet: Supernet) -> dict[str, Any]:
    """What a set of this supernet's projectors fits: base, stages, kind, and each component's weights and cuts."""
    return {
        "format": FORMAT,
        "base": supernet.base,
        "stages": supernet.space.stages,
        "projector": supernet.projector,
        "components": {name: _component(supernet, held) for name, held in supernet.components.items()},
    }


def _component(supernet: Supernet, held: Component) -> dict[str, Any]:
    return {
        "source": Path(held.source).name if Path(held.source).is_dir() else held.source,
        "revision": held.revision,
        "weights": weight_hash(held.model),
        "width": held.width,
        "layer_boundaries": supernet.layer_boundaries[held.name],
    }


def projector_state(supernet: Supernet) -> dict[str, Tensor]:
    """The projectors' weights, under the names they have in the supernet."""
    return {key: value for key, value in supernet.state_dict().items() if is_projector_weight(key)}


def save_projector_set(supernet: Supernet, folder: Path, card: str, tokens: int, **facts: Any) -> Path:
    """Write a set, whole or not at all.

    Args:
        supernet: whose projectors to keep.
        folder: what to write; must not exist.
        card: text of its README.md; `manticore ls projectors` shows its first line.
        tokens: base tokens that the projectors were fitted on.
        facts: what else `config.json` is to say, fit for JSON.

    Raises ManticoreError if `folder` exists or a projector holds a number that is none.
    """
    if folder.exists():
        raise ManticoreError(f"{folder} exists; choose another folder")
    weights = {key: value.detach().cpu().contiguous() for key, value in projector_state(supernet).items()}
    spoilt = [key for key, value in weights.items() if not value.isfinite().all()]
    if spoilt:
        raise ManticoreError(f"{spoilt[0]} is not finite; nothing was written")
    with atomic_dir(folder) as part:
        write_json(part / "config.json", _plain({**describe_projector_set(supernet), "tokens": tokens, **facts}))
        save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
        write_text(part / "README.md", card)
    return folder


def _plain(value: Any) -> Any:
    """The same, with null where JSON has no number."""
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_projector_set(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A set's config and weights. Raises BadFile if the folder is none, or is damaged."""
    file, weights = folder / "config.json", folder / "model.safetensors"
    held = read_json(file)
    check_config(file, held)
    wanted = shapes(file, held)
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise BadFile(weights, f"cannot be read as safetensors ({str(error)[:80]})") from None
    spoilt = [key for key, value in state.items() if not value.isfinite().all()]
    if spoilt:
        raise BadFile(weights, f"{spoilt[0]} is not finite")
    for key, shape in wanted.items():
        if key not in state:
            raise BadFile(weights, f"holds no {key}")
        if tuple(state[key].shape) != shape:
            raise BadFile(weights, f"{key} has the shape {tuple(state[key].shape)}, not {shape}")
    return held, state


def load_projector_set(supernet: Supernet, folder: Path) -> dict[str, Any]:
    """Put a set's projectors into a supernet; returns the set's config.

    The set may hold further donor components; those are left out.

    Raises:
        BadFile: the folder is no set, or is damaged.
        ManticoreError: it was made for another base, other weights, cuts, widths or projectors; the message says which.
    """
    held, weights = read_projector_set(folder)
    _check_fit(held, describe_projector_set(supernet), folder)
    supernet.load_state_dict({key: weights[key] for key in projector_state(supernet)}, strict=False)
    return held


def _check_fit(held: Mapping[str, Any], ours: Mapping[str, Any], folder: Path) -> None:
    """Raises ManticoreError with the first thing in which a set and a supernet differ."""
    for key, words in {"base": "base", "stages": "number of stages", "projector": "projector"}.items():
        if held[key] != ours[key]:
            raise ManticoreError(f"{folder} has {words} {_told(held[key])}, the search space {_told(ours[key])}")
    for name, own in ours["components"].items():
        theirs = held["components"].get(name)
        if theirs is None:
            known = ", ".join(sorted(held["components"]))
            raise ManticoreError(f"{folder} has no projectors of '{name}'; it was made for {known}")
        for key, words in {"weights": "weights", "width": "width", "layer_boundaries": "layer_boundaries"}.items():
            if theirs[key] != own[key]:
                raise ManticoreError(
                    f"{folder} was made for other {words} of '{name}': {_told(theirs[key])}, here {_told(own[key])}"
                )


def _told(value: Any) -> str:
    """A value in a message: hashes by their first digits, a projector by its kind, bypass and options."""
    if isinstance(value, Mapping):
        options = {key: held for key, held in value.items() if key not in NOT_OWN}
        around = " with a bypass" if value.get("bypass") else ""
        return f"{value.get('kind')}{around}" + (f" {options}" if options else "")
    return value[:20] if isinstance(value, str) and value.startswith("blake2b:") else str(value)
