"""Tokenizers for tests: those of GPT-2 and GPT-NeoX from their files, and small ones of other kinds, trained here."""

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
TRAINED_HERE = ("prose", "code", "prefix", "metaspace", "unigram", "wordpiece", "nfkc", "nfd", "stream", "bytes")
TWINS = ("backwards", "lower")
"""Two with the vocabulary of `prose`: one with its merges in reverse order, one that lowercases text."""

NAMES = ("gpt2", "neox", *TRAINED_HERE, *TWINS)
BYTE_LEVEL = ("gpt2", "neox", "prose", "code", "prefix", "nfkc", "nfd", "stream", "bytes", *TWINS)


def read_file(name: str) -> str:
    """The text of a file in tests/files."""
    return lzma.decompress((FILES / name).read_bytes()).decode("utf-8")


@cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer of NAMES. It is shared by all tests and must not be changed."""
    if name == "gpt2":
        merges = [tuple(line.split(" ")) for line in read_file("gpt2-vocab.bpe.xz").splitlines()[1:] if line]
        return GPT2Tokenizer(vocab=json.loads(read_file("gpt2-encoder.json.xz")), merges=merges)
    if name == "neox":
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(read_file("gpt-neox-20b-tokenizer.json.xz")),
            bos_token="<|endoftext|>",
            eos_token="<|endoftext|>",
        )
    return PreTrainedTokenizerFast(tokenizer_object=_twin(name) if name in TWINS else _train(name))


def decode(name: str, ids: list[int]) -> str:
    """The text that a tokenizer decodes ids to, without the help of offsets."""
    return str(tokenizer(name).decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def expected_decoding(name: str, text: str) -> str:
    """The decoding of the tokens that represent exactly `text`, for tokenizers in BYTE_LEVEL and `metaspace`."""
    if name == "prefix" and not text.startswith(" "):
        return " " + text
    normalizer = tokenizer(name).backend_tokenizer.normalizer
    if name == "metaspace" or normalizer is None:
        return text.replace("▁", " ") if name == "metaspace" else text
    return str(normalizer.normalize_str(text))


def base_letters(text: str) -> str:
    """The text without case, accents, spaces and marks of invalid bytes."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cc", "Cf") and c not in "▁�"
    )


def has_unknown(name: str, ids: list[int]) -> bool:
    """Whether some token is the unknown token."""
    return tokenizer(name).convert_tokens_to_ids("[UNK]" if name == "wordpiece" else "<unk>") in ids


def _twin(name: str) -> Tokenizer:
    content = json.loads(tokenizer("prose").backend_tokenizer.to_str())
    if name == "backwards":
        content["model"]["merges"].reverse()
    else:
        content["normalizer"] = {"type": "Lowercase"}
    return Tokenizer.from_str(json.dumps(content))


def _train(name: str) -> Tokenizer:
    byte_level = {"show_progress": False, "vocab_size": 330, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    if name in ("prose", "code", "prefix", "nfkc", "nfd", "stream"):
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=name == "prefix", use_regex=name != "stream")
        core.decoder = decoders.ByteLevel()
        if name == "nfkc":
            core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
        if name == "nfd":
            core.normalizer = normalizers.NFD()
        if name == "stream":  # tokens end in spaces, but their offsets do not include them
            core.post_processor = processors.ByteLevel(trim_offsets=True)
        core.train_from_iterator([CODE if name == "code" else PROSE], trainers.BpeTrainer(**byte_level))
        return core
    if name == "bytes":
        vocab = {byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        core = Tokenizer(models.BPE(vocab, []))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
        return core
    if name == "metaspace":  # as in Llama: a mark for every space and before the text, unknown characters as bytes
        core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        codes = ["<unk>", *(f"<0x{code:02X}>" for code in range(256))]
        core.train_from_iterator(
            [PROSE], trainers.BpeTrainer(vocab_size=400, special_tokens=codes, show_progress=False)
        )
        content = json.loads(core.to_str())
        content["added_tokens"] = content["added_tokens"][:1]
        core = Tokenizer.from_str(json.dumps(content))
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        return core
    if name == "unigram":  # as in T5
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Metaspace()
        core.train_from_iterator(
            [PROSE],
            trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False),
        )
        return core
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # as in BERT
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.train_from_iterator(
        [PROSE], trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    )
    return core
