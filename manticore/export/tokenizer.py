"""A task's vocabulary and labels as Hugging Face has them: a tokenizer that reads text as the task does, and names."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from manticore.tasks.language.task import LanguageTask
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import EOS, PAD, UNK

SHOWN = 64
"""Most tokens of an example."""


def build_tokenizer(task: Task) -> PreTrainedTokenizerBase:
    """The task's way from text to tokens: bytes, characters, or words between spaces; of text, that of its reader.

    Where there are special tokens, EOS comes last and padding on the right; where there are none, neither is known.
    """
    if isinstance(task, LanguageTask):
        words: PreTrainedTokenizerBase = task.tokenizer
        return words
    special: dict[str, Any] = {"pad_token": PAD, "unk_token": UNK, "eos_token": EOS, "padding_side": "right"}
    core = _words(task)
    if (unit := task.settings.get("unit")) in ("bytes", "characters"):
        core = _letters(task, in_bytes=unit == "bytes")
        special["split_special_tokens"] = True  # "<eos>" in a text is five letters
    if task.vocabulary.has_specials:
        ends = [(EOS, task.vocabulary.eos)]
        core.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=task.max_length,
        model_input_names=["input_ids", "attention_mask"],
        **(special if task.vocabulary.has_specials else {}),
    )


def _words(task: Task) -> Tokenizer:
    unknown = {"unk_token": UNK} if task.vocabulary.has_specials else {}
    core = Tokenizer(WordLevel(task.vocabulary.ids, **unknown))
    if task.rewrites:
        core.normalizer = normalizers.Sequence([normalizers.Replace(old, new) for old, new in task.rewrites])
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return core


def _letters(task: Task, in_bytes: bool) -> Tokenizer:
    """Byte pairs without a single pair: what is left are the letters."""
    core = Tokenizer(BPE(task.vocabulary.ids, [], unk_token=UNK))
    if in_bytes:
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel() if in_bytes else decoders.Fuse()
    return core


def config_fields(task: Task) -> dict[str, object]:
    """What a hybrid's configuration says about the task's labels and, where it has some, special tokens."""
    if isinstance(task, LanguageTask):
        ends = ("pad_token_id", "bos_token_id", "eos_token_id")
        return {"task": task.name, **{end: getattr(task.tokenizer, end) for end in ends}}
    vocabulary = task.vocabulary
    special = {"pad_token_id": vocabulary.pad, "eos_token_id": vocabulary.eos} if vocabulary.has_specials else {}
    return {
        "id2label": dict(enumerate(task.label_names)),
        "label2id": {name: index for index, name in enumerate(task.label_names)},
        **special,
        "task": task.name,
    }


def example(task: Task) -> str | None:
    """An input as text, cut short, of a task whose tokens nobody could guess; None where any text will do."""
    if task.vocabulary.has_specials or task.kind == "lm":
        return None
    ids, _ = task.splits().val[0]
    return " ".join(task.vocabulary.decode(ids[:SHOWN].tolist()))
