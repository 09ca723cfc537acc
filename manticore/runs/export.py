"""From a trained hybrid to a folder anyone can load: weights, code, tokenizer, card. Written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from manticore.components import Component
from manticore.errors import ManticoreError
from manticore.files import write_text
from manticore.runs.carrying import carry_projector
from manticore.tasks.base import EOS, PAD, UNK, Task


def export(hybrid: PreTrainedModel, words: PreTrainedTokenizerBase | None, out: Path, card: str) -> Path:
    """Write `hybrid` as a Hugging Face checkpoint.

    Args:
        hybrid: the discrete hybrid.
        words: the tokenizer, if there is one.
        out: the folder; must not exist.
        card: text of its README.md.

    Raises ManticoreError if `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        hybrid.save_pretrained(part)
        carry_projector(part / "projectors.py", hybrid.config.projector["kind"])
        if words is not None:
            words.save_pretrained(part)
        write_text(part / "README.md", card)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def tokenizer(task: Task) -> PreTrainedTokenizerFast:
    """The task's vocabulary as a Hugging Face tokenizer: words between spaces, EOS at the end, padded on the right."""
    core = Tokenizer(WordLevel(task.vocabulary.ids, unk_token=UNK))
    if task.rewrites:
        core.normalizer = normalizers.Sequence([normalizers.Replace(old, new) for old, new in task.rewrites])
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, task.vocabulary.eos)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNK,
        eos_token=EOS,
        padding_side="right",
        model_max_length=task.max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def label_fields(task: Task) -> dict[str, object]:
    """What the configuration of a classifier says about the task's labels and special tokens."""
    return {
        "id2label": dict(enumerate(task.label_names)),
        "label2id": {name: index for index, name in enumerate(task.label_names)},
        "pad_token_id": task.vocabulary.pad,
        "eos_token_id": task.vocabulary.eos,
        "task": task.name,
    }


def plain_card(components: Sequence[Component], words: str, home: str, auto_class: str, note: str) -> str:
    """The card of a hybrid that no search has scored: what it is made of, how to load it, and a note."""
    made_of = "\n".join(
        f"- **{held.name}**: {held.source}" + (f" at revision `{held.revision}`" if held.revision else "")
        for held in components
    )
    kind = "text-generation" if auto_class == "AutoModelForCausalLM" else "text-classification"
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: {kind}\ntags: [manticore, hybrid]\n---\n\n"
        f"# A hybrid by hand\n\n{words}. Home is **{home}**: it lends embedding, residual stream, norm and head.\n\n"
        f"{made_of}\n\n{note}\n\n"
        f"```python\nfrom transformers import {auto_class}, AutoTokenizer\n\n"
        f'model = {auto_class}.from_pretrained(".", trust_remote_code=True)\n'
        'tokenizer = AutoTokenizer.from_pretrained(".", trust_remote_code=True)\n```\n\n'
        "Made with manticore (arXiv 2406.00894, Pretrained Hybrids with MAD Skills).\n"
    )
