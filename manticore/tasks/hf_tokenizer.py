"""A task's vocabulary and labels as Hugging Face has them: a tokenizer that reads text as the task does, and names."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from manticore.tasks.task import Task
from manticore.tasks.vocabulary import EOS, PAD, UNK


def build_tokenizer(task: Task) -> PreTrainedTokenizerFast:
    """The task's way from text to tokens: bytes, characters, or words between spaces; of text, that of its reader.

    Where there are special tokens, EOS comes last and padding on the right; where there are none, neither is known.
    """
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
