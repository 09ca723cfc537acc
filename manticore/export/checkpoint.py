"""Writes hybrids and native models as Hugging Face checkpoints: weights, code, tokenizer and card, atomically."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore.adapters.attach import detach, merged, peft_targets
from manticore.adapters.ladder import detach_ladder, ladder_of
from manticore.errors import ManticoreError
from manticore.export.adapter_folder import ADAPTER, save_adapter, save_ladder
from manticore.export.custom_code import embed_custom_code
from manticore.export.quantized import is_quantized
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.ops import OpBranch
from manticore.modeling.serving import backend_obstacle
from manticore.utils.io import atomic_dir, write_text


def cache_notes(hybrid: PreTrainedModel) -> list[str]:
    """A line for each op of a language model without its own cache, which generation recomputes for every token."""
    if not hybrid.can_generate():
        return []
    config: HybridConfig = hybrid.config
    stages = zip(config.path, hybrid.model.stages, strict=True)
    names = dict.fromkeys(name for name, branch in stages if isinstance(branch, OpBranch) and not branch.stepwise)
    return [
        f"note: op '{name}' has no cache (init_cache and step), so generation keeps its inputs and runs it again on "
        "all of them for every token"
        for name in names
    ]


SERVING = "\n## Serving\n\n"
"""Heading of the section of a card on backends."""


def serving_section(config: HybridConfig) -> str:
    """The section of a language model's card that says whether vLLM's Transformers backend runs it."""
    if obstacle := backend_obstacle(config.stage_layers()):
        return f"{SERVING}vLLM does not run this hybrid: {obstacle}. transformers does.\n"
    return (
        f"{SERVING}All stages are attention with heads of one size, which vLLM's Transformers backend runs: "
        "`vllm serve . --trust-remote-code --model-impl transformers`, without pipeline parallelism.\n"
    )


ADAPTER_NOTE = """
## Adapter

The weights here are without the trained changes, which are in `adapter/`. manticore adds them when it loads this
folder; elsewhere, `adapter/adapter.py` does (`load(model)`), or for LoRA peft (`PeftModel.from_pretrained`).
"""
"""Section of the card of a model whose adapter is kept beside its weights."""


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    out: Path,
    card: str,
    keep_adapter: bool = False,
    check: Callable[[Path], str] | None = None,
) -> Path:
    """Write a model as a Hugging Face checkpoint, which loads with or without manticore installed.

    Args:
        model: the discrete hybrid, or a model of a family's own class (`native_model`). Adapters are merged in the
            checkpoint, and stay on the model.
        tokenizer: its tokenizer; None: the checkpoint has none.
        out: folder to write; must not exist.
        card: text of its README.md. The card of a language model gets a section on serving.
        keep_adapter: take its adapter off the model, and write it to `out/adapter` instead of merging it. A ladder
            cannot be merged.
        check: called with the folder before it gets its name and its card; returns what is added to the card. If it
            raises, nothing is written.

    Returns `out`. Raises ManticoreError if it exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    ladder = ladder_of(model)
    if ladder is not None and not keep_adapter:
        raise ManticoreError(
            "a ladder is no change of weights and cannot be merged; keep it beside them (keep_adapter)"
        )
    if ladder is not None:
        detach_ladder(model)
    kept = detach(model) if keep_adapter and ladder is None else {}
    card += ADAPTER_NOTE if kept or ladder is not None else ""
    if isinstance(model.config, HybridConfig) and (targets := peft_targets(model)):
        model.config.peft_targets = targets
    with atomic_dir(out) as part:
        merged(model).save_pretrained(part)
        if isinstance(model.config, HybridConfig):
            embed_custom_code(part, model.config)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        if check is not None:
            card += check(part)
        if isinstance(model.config, HybridConfig) and model.can_generate() and not is_quantized(model):
            card += "" if SERVING in card else serving_section(model.config)
        write_text(part / "README.md", card)
        if kept:
            save_adapter(model, kept, part / ADAPTER)
        if ladder is not None:
            save_ladder(model, ladder, part / ADAPTER)
    return out
