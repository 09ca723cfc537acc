"""A Hugging Face tokenizer that reads text as a task with its own vocabulary does."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from manticore.tasks.task import Task
from manticore.tasks.vocabulary import EOS, PAD, UNK


def build_tokenizer(task: Task) -> PreTrainedTokenizerFast:
    """The tokenizer of a task: of bytes, of characters, or of words between spaces (`Task.text_unit`).

    If the vocabulary has special tokens, the tokenizer appends EOS and pads on the right; otherwise it does neither.
    """
    vocabulary = task.vocabulary
    special: dict[str, Any] = {}
    if vocabulary.has_specials:
        special = {"pad_token": PAD, "unk_token": UNK, "eos_token": EOS, "padding_side": "right"}
    core = _word_tokenizer(task) if task.text_unit == "words" else _character_tokenizer(task)
    if task.text_unit != "words":
        special["split_special_tokens"] = True  # "<eos>" in a text is five characters, not the special token
    if vocabulary.has_specials:
        core.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, vocabulary.eos)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=task.max_length,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )


def _word_tokenizer(task: Task) -> Tokenizer:
    unknown = {"unk_token": UNK} if task.vocabulary.has_specials else {}
    core = Tokenizer(WordLevel(task.vocabulary.ids, **unknown))
    if task.replacements:
        core.normalizer = normalizers.Sequence([normalizers.Replace(old, new) for old, new in task.replacements])
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return core


def _character_tokenizer(task: Task) -> Tokenizer:
    """Byte-pair encoding without any pair, whose tokens are single bytes or characters."""
    core = Tokenizer(BPE(task.vocabulary.ids, [], unk_token=UNK))
    if task.text_unit == "bytes":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
    else:
        core.decoder = decoders.Fuse()
    return core
