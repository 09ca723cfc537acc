"""From a GGUF file in an installed package to an ordinary model folder in the cache. Knows nothing of components.

It is done once: the folder is read ever after, and neither the package nor the readers of GGUF are needed any more.
The weights in it are the file's, dequantized to fp32, to the bit.
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
    """The folder of a packed model: config.json, safetensors, tokenizer. Takes a minute or two the first time.

    Raises ManticoreError, with what to type, if the package or a reader of GGUF is not installed; also if the package
    holds another file than the pinned one, or the cache cannot be written.
    """
    assert entry.packed is not None
    folder = cache_folder() / "models" / f"{alias}-{entry.packed.sha256[:16]}"
    if folder.is_dir():
        return folder
    file = _file(entry.packed)
    if file is None or any(find_spec(reader) is None for reader in GGUF_READERS):
        raise ManticoreError(f"'{alias}' comes as a package and is not installed; {entry.how_to_get}")
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry.packed.sha256:
            raise BadFile(file, f"not the file of {entry.source} {entry.revision}; {entry.how_to_get}")
    log.warning("unpacking %s to %s, which takes a minute or two and is done once", file.name, folder)
    model, words = _read(file, entry.packed)
    try:
        with atomic_dir(folder) as part:
            model.save_pretrained(part)
            words.save_pretrained(part)
    except (OSError, SafetensorError) as error:
        raise ManticoreError(
            f"{folder} cannot be written ({error}); point MANTICORE_CACHE at a folder with room for it"
        ) from None
    return folder


def _file(packed: PackagedWeights) -> Path | None:
    """Where the package's GGUF file is; None if it is not installed."""
    found = find_spec(packed.module)
    places = [] if found is None else list(found.submodule_search_locations or [])
    return next((file for place in places if (file := Path(place) / packed.file).is_file()), None)


def _read(file: Path, packed: PackagedWeights) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The file's model in fp32, and its tokenizer."""
    try:
        from transformers import GgufConfig

        words = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model, told = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),  # without it the model refuses to be saved
            output_loading_info=True,
        )
    except Exception as error:  # transformers, gguf and accelerate each have their own
        raise ManticoreError(f"{file} cannot be read by transformers {version} ({str(error)[:160]})") from None
    check_weights(str(file), model, told, strict=True)
    if packed.digits:
        words.backend_tokenizer.pre_tokenizer = digits_apart()
    words.model_max_length = model.config.max_position_embeddings
    return model, words


def digits_apart() -> pre_tokenizers.PreTokenizer:
    """How SmolLM2 splits a text: each digit by itself, then words as GPT-2 does. GGUF calls it `smollm`."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
