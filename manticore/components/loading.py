"""From a name to a component: catalog, hub, local folder, or fresh weights. Knows nothing of cutting.

Weights are read from safetensors only, and remote code is never run.
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
from manticore.components.gguf import unpack_gguf
from manticore.components.spec import BlockSize, ComponentSpec
from manticore.components.tokenizers import check_vocab_size, read_tokenizer
from manticore.components.weight_checks import check_weights
from manticore.errors import ManticoreError, UnknownName
from manticore.utils import assets
from manticore.utils.hub import hub_answers

WAYS_OUT = (
    "give a local folder (--models /path/to/model,...), point HF_HOME at a cache that has it, "
    "or train from scratch on a task with its own vocabulary (--task lra-listops)"
)


@dataclass(frozen=True)
class Scratch:
    """What a task with its own vocabulary asks of components built from scratch.

    Attributes:
        attention: sizes of attention components.
        recurrent: sizes of recurrent components.
        vocab_size: number of token ids.
        length: longest sequence in tokens.
    """

    attention: BlockSize
    recurrent: BlockSize
    vocab_size: int
    length: int


def load(spec: ComponentSpec, scratch: Scratch | None = None) -> Component:
    """The component a spec means, on the CPU in fp32.

    Args:
        spec: what to load.
        scratch: given by tasks with their own vocabulary; aliases are then built from scratch.

    Raises:
        UnknownName: no alias, folder or hub id is called that.
        ManticoreError: the weights cannot be had or must not be read; the message says why and names the ways out.
    """
    if spec.model is not None:
        return Component(spec.name, family_of(spec.model.config), spec.model, source=spec.source or spec.name)
    entry = CATALOG.get(spec.source)
    init = spec.init if spec.init != "auto" else ("scratch" if entry and scratch else "pretrained")
    if init == "scratch":
        return _draw(spec, scratch)
    if entry is not None and entry.packed is not None:
        if spec.revision not in (None, entry.revision):
            raise ManticoreError(f"'{spec.source}' comes at revision {entry.revision} only, not {spec.revision}")
        return replace(
            _read(spec.name, str(unpack_gguf(spec.source, entry)), None, spec.source), revision=entry.revision
        )
    folder = folder_of(spec)
    if folder is not None:
        _check_folder(folder)
        return _read(spec.name, str(folder), None, spec.source)
    if entry is None and ("/" not in spec.source or spec.source.startswith((".", "/", "~"))):
        if "/" in spec.source:
            raise ManticoreError(f"no such model folder: {spec.source}")
        raise UnknownName("model", spec.source, [*CATALOG, *assets.names("models")])
    source, revision = (entry.source, entry.revision) if entry else (spec.source, None)
    return _read(spec.name, source, spec.revision or revision)


def folder_of(spec: ComponentSpec) -> Path | None:
    """The local folder of a component's weights, on the shelf or anywhere; None if it is no such."""
    if spec.source in CATALOG:
        return None
    on_shelf = spec.source in assets.names("models")
    folder = assets.find("models", spec.source) if on_shelf else Path(spec.source).expanduser()
    return folder if folder.is_dir() else None


def config_of(spec: ComponentSpec, scratch: Scratch | None) -> PretrainedConfig:
    """The configuration a from-scratch component gets: from a folder's config.json, or of the task's sizes.

    Raises ManticoreError if nothing says how large it should be.
    """
    entry = CATALOG.get(spec.source)
    row = entry.family if entry else spec.source
    if entry is None and (Path(spec.source).expanduser() / "config.json").is_file():
        return _config_in(Path(spec.source).expanduser(), spec, scratch)
    if row not in families:
        raise UnknownName("model family for init: scratch", spec.source, [*CATALOG, *families])
    if scratch is None:
        raise ManticoreError(
            f"'{spec.name}' from scratch needs a task with its own vocabulary and sizes, such as lra-listops"
        )
    family = families[row]
    size = scratch.recurrent if family.layout.recurrent else scratch.attention
    size = replace(size, **spec.size)
    if not family.layout.recurrent and size.width % size.heads:
        raise ManticoreError(f"'{spec.name}': width {size.width} is no multiple of its {size.heads} heads")
    model_type = entry.model_type if entry else family.model_types[0]
    return family.scratch(model_type, size, scratch.vocab_size, scratch.length)


def _config_in(folder: Path, spec: ComponentSpec, scratch: Scratch | None) -> PretrainedConfig:
    """The configuration in a folder, with the task's vocabulary where the task has its own."""
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


def _draw(spec: ComponentSpec, scratch: Scratch | None) -> Component:
    config = config_of(spec, scratch)
    model = AutoModelForCausalLM.from_config(config)
    return Component(spec.name, family_of(config), model, source=f"{spec.source} (from scratch)", pretrained=False)


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ManticoreError(f"{folder} is no Hugging Face model folder: it has no config.json")
    if any(folder.glob("*.safetensors")):
        return
    pickles = [file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern)]
    if pickles:
        raise ManticoreError(
            f"{folder} holds pickled weights ({sorted(pickles)[0]}); only safetensors are read: "
            "load it once with transformers and save_pretrained it"
        )
    raise ManticoreError(f"{folder} holds no weights: expected *.safetensors")


def _read(name: str, source: str, revision: str | None, called: str | None = None) -> Component:
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    where["local_files_only"] = Path(source).is_dir() or not hub_answers(source, "config.json", "model", revision)
    try:
        config = AutoConfig.from_pretrained(source, **where)
        family = family_of(config)
        model: Any
        model, told = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **where,
        )
        check_weights(source, model, told, strict=False)
    except ManticoreError:
        raise
    except Exception as error:  # transformers, hub, safetensors and JSON errors alike mean: not readable
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        if Path(source).is_dir():
            raise ManticoreError(f"{source} cannot be read as a Hugging Face model ({reason})") from None
        at = f" at revision {revision[:12]}" if revision else ""
        raise ManticoreError(f"cannot get '{source}'{at} from the hub or its cache; {WAYS_OUT}") from None
    words = read_tokenizer(source, where)
    if words is not None:
        check_vocab_size(words, model.get_input_embeddings().num_embeddings, name)
    return Component(name, family, model.eval(), source=called or source, revision=revision, tokenizer=words)
