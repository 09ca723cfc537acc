"""Training of a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2)."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from manticore.tasks.language.documents import SEPARATOR


def train_bpe(texts: Iterable[str], size: int, length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `size` tokens, with the special token `<|endoftext|>`, for models of context length `length`.

    It encodes every string of bytes, and decodes it unchanged.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), SEPARATOR)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=length, model_input_names=["input_ids", "attention_mask"], **special
    )
