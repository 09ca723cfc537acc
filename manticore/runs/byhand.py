"""A language model by hand: pretrained components, a path you choose, no search. The projectors start untrained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from manticore.architecture import SKIP
from manticore.components import Component, load
from manticore.components.loading import hub_answers
from manticore.discretization import discretize
from manticore.errors import ManticoreError, UnknownName
from manticore.recipe import RunOptions
from manticore.runs.export import export, plain_card
from manticore.runs.machine import prepare
from manticore.space import SearchSpace
from manticore.supernet import Readout, Supernet

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


def run(models: Sequence[str], path: Sequence[str], home: str | None, out: Path, console: Console) -> Path:
    """Write the hybrid on `path` as a causal language model, with home's tokenizer and generation config.

    Args:
        models: aliases, hub ids or local folders.
        path: a component's name, or `skip`, for each stage.
        home: who lends embedding, stream and head; default: the first component on the path.
        out: folder to write; must not exist.
        console: where to say what was written.

    Raises ManticoreError if a model cannot be had, the path names something else, or `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    space = SearchSpace(models, stages=len(path), skip=SKIP in path)
    home = home or next((choice for choice in path if choice != SKIP), space.names[0])
    for choice in (*path, home):
        if choice not in space.candidates:
            raise UnknownName("choice for a stage", choice, space.candidates)
    prepare(RunOptions())
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, home, Readout())
    lender = supernet.components[home]
    special: dict[str, Any] = {key: getattr(lender.config, key, None) for key in SPECIAL}
    hybrid = discretize(supernet, path, **special)
    hybrid.generation_config = lender.model.generation_config or GenerationConfig.from_model_config(lender.config)
    architecture = supernet.architecture(path)
    note = (
        "The projectors of foreign stages are untrained: features are cut or padded to fit. Train it before you use it."
    )
    card = plain_card(components, architecture.words(), home, "AutoModelForCausalLM", note)
    place = export(hybrid, home_tokenizer(lender), out, card)
    console.print(
        f"{place}: {architecture.words()}, home {home}; its projectors are untrained", highlight=False, soft_wrap=True
    )
    return place


def home_tokenizer(lender: Component) -> PreTrainedTokenizerBase | None:
    """The tokenizer that came with a component, or None if none did."""
    folder = Path(lender.source)
    if folder.is_dir() and not any((folder / file).exists() for file in TOKENIZER_FILES):
        return None  # transformers would make up an empty one
    local = folder.is_dir() or not hub_answers(lender.source, lender.revision)
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            lender.source, revision=lender.revision, local_files_only=local
        )
    except (OSError, ValueError, KeyError):
        return None
    return found
