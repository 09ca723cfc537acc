"""Reading exported hybrids back. Knows nothing of how they came to be."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from manticore.components.spec import SKIP
from manticore.components.weight_checks import check_weights
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.wiring import TOPOLOGIES
from manticore.utils.io import read_json

_CLASSES = {
    "HybridForCausalLM": AutoModelForCausalLM,
    "HybridForSequenceClassification": AutoModelForSequenceClassification,
    "HybridForTokenClassification": AutoModelForTokenClassification,
}


def read_hybrid(given: Path) -> PreTrainedModel:
    """The model in an exported folder, or in a run folder's `hybrid/`, with the head it was exported with, in float32.

    Raises ManticoreError if there is none, if it is another kind of model, or if its weights are damaged.
    """
    folder = given / "hybrid" if (given / "hybrid" / "config.json").exists() else given
    if not (folder / "config.json").exists():
        raise ManticoreError(f"{given} holds no hybrid: there is no config.json in it")
    if not (folder / "model.safetensors").exists() and not any(folder.glob("*.safetensors.index.json")):
        pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern))
        held = f"it holds pickled weights ({pickled[0]}), which are never read" if pickled else "it holds no weights"
        raise ManticoreError(f"{folder} has no model.safetensors; {held}")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if not isinstance(config, HybridConfig):
            raise ManticoreError(f"{folder} holds a {config.model_type} model, not a manticore hybrid")
        check_path(folder, config)
        kind = _CLASSES[(config.architectures or ["HybridForCausalLM"])[0]]
        model: PreTrainedModel
        model, told = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
        check_weights(str(folder), model, told, strict=True)
    except ManticoreError:
        raise
    except Exception as error:  # safetensors, JSON and transformers all have their own: any of them means damage
        raise ManticoreError(f"{folder} cannot be read as a hybrid ({' '.join(str(error).split())[:120]})") from None
    return model.eval()


def check_path(folder: Path, config: HybridConfig) -> None:
    """Raises ManticoreError if a hybrid's configuration contradicts itself."""
    unknown = [name for name in (config.base, *config.path) if name not in (*config.components, SKIP)]
    if unknown:
        raise UnknownName(f"component in {folder / 'config.json'}:", unknown[0], config.components)
    if config.topology not in TOPOLOGIES:
        raise UnknownName(f"topology in {folder / 'config.json'}:", config.topology, TOPOLOGIES)
    for name, held in config.components.items():
        if (
            len(held["layer_boundaries"]) != len(config.path) + 1
            or held["layer_boundaries"][-1] != config.component_config(name).num_hidden_layers
        ):
            raise ManticoreError(
                f"{folder / 'config.json'}: the cuts of '{name}' are not those of its layers and stages"
            )


def holds_hybrid(given: Path) -> bool:
    """Whether a folder is a run with a hybrid, or says in its config.json that it is one. Its weights are not read."""
    if (given / "hybrid" / "config.json").exists():
        return True
    file = given / "config.json"
    held = read_json(file) if file.exists() else None
    return isinstance(held, dict) and held.get("model_type") == HybridConfig.model_type


def kind_of(model: PreTrainedModel) -> str:
    """The kind of task a hybrid answers, or `lm`."""
    return str(model.config.head or getattr(type(model), "default_head", "lm"))
