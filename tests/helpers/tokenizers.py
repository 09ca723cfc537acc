"""Real tokenizers for tests: GPT-2's and GPT-NeoX's own files, and small ones trained here, one of each kind."""

from __future__ import annotations

import json
import lzma
import unicodedata
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

FILES = Path(__file__).parents[1] / "files"

PROSE = """It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of
a wife.  However little known the feelings or views of such a man may be on his first entering a neighbourhood, this
truth is so well fixed in the minds of the surrounding families."""
CODE = (
    'def add(first, second):\n    """Sums."""\n\treturn first + second  # naïve 😀\n\n\nfor i in range(10): add(i, i)\n'
)
LEARNT_HERE = ("prose", "code", "prefix", "metaspace", "unigram", "wordpiece", "nfkc", "nfd", "stream", "bytes")
TWINS = ("backwards", "lower")
"""Both have the vocabulary of `prose`: with its merges in the reverse order, and with all letters made small first."""

NAMES = ("gpt2", "neox", *LEARNT_HERE, *TWINS)
BYTEWISE = ("gpt2", "neox", "prose", "code", "prefix", "nfkc", "nfd", "stream", "bytes", *TWINS)


def unpacked(name: str) -> str:
    """The text of one of the files beside this one."""
    return lzma.decompress((FILES / name).read_bytes()).decode("utf-8")


@cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """One of NAMES. Shared by all tests: never change it."""
    if name == "gpt2":
        merges = [tuple(line.split(" ")) for line in unpacked("gpt2-vocab.bpe.xz").splitlines()[1:] if line]
        return GPT2Tokenizer(vocab=json.loads(unpacked("gpt2-encoder.json.xz")), merges=merges)
    if name == "neox":
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(unpacked("gpt-neox-20b-tokenizer.json.xz")),
            bos_token="<|endoftext|>",
            eos_token="<|endoftext|>",
        )
    return PreTrainedTokenizerFast(tokenizer_object=_twin(name) if name in TWINS else _learnt(name))


def told(name: str, ids: list[int]) -> str:
    """What a tokenizer itself makes of ids. It knows nothing of offsets."""
    return str(tokenizer(name).decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def expected(name: str, text: str) -> str:
    """What `told` must be of the tokens that stand for exactly `text`, for those of BYTEWISE and `metaspace`."""
    if name == "prefix" and not text.startswith(" "):
        return " " + text
    normalizer = tokenizer(name).backend_tokenizer.normalizer
    if name == "metaspace" or normalizer is None:
        return text.replace("▁", " ") if name == "metaspace" else text
    return str(normalizer.normalize_str(text))


def rough(text: str) -> str:
    """What is left where case, accents, spaces and marks of unreadable bytes are lost."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cc", "Cf") and c not in "▁�"
    )


def unknown(name: str, ids: list[int]) -> bool:
    """Whether some token says that there was something the tokenizer has no tokens for."""
    return tokenizer(name).convert_tokens_to_ids("[UNK]" if name == "wordpiece" else "<unk>") in ids


def _twin(name: str) -> Tokenizer:
    held = json.loads(tokenizer("prose").backend_tokenizer.to_str())
    if name == "backwards":
        held["model"]["merges"].reverse()
    else:
        held["normalizer"] = {"type": "Lowercase"}
    return Tokenizer.from_str(json.dumps(held))


def _learnt(name: str) -> Tokenizer:
    bytewise = {"show_progress": False, "vocab_size": 330, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    if name in ("prose", "code", "prefix", "nfkc", "nfd", "stream"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=name == "prefix", use_regex=name != "stream")
        made.decoder = decoders.ByteLevel()
        if name == "nfkc":
            made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
        if name == "nfd":
            made.normalizer = normalizers.NFD()
        if name == "stream":  # tokens end in spaces, and are said not to
            made.post_processor = processors.ByteLevel(trim_offsets=True)
        made.train_from_iterator([CODE if name == "code" else PROSE], trainers.BpeTrainer(**bytewise))
        return made
    if name == "bytes":
        vocab = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        made = Tokenizer(models.BPE(vocab, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
        return made
    if name == "metaspace":  # as Llama's: a mark for every space and before the text, unknown letters in bytes
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        codes = ["<unk>", *(f"<0x{code:02X}>" for code in range(256))]
        made.train_from_iterator(
            [PROSE], trainers.BpeTrainer(vocab_size=400, special_tokens=codes, show_progress=False)
        )
        held = json.loads(made.to_str())
        held["added_tokens"] = held["added_tokens"][:1]
        made = Tokenizer.from_str(json.dumps(held))
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        return made
    if name == "unigram":  # as T5's
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        made.train_from_iterator(
            [PROSE],
            trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False),
        )
        return made
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # as BERT's
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        [PROSE], trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    )
    return made
