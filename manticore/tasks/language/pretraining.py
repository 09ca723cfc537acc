"""Text and tokenizer of a pretraining: documents cut into passages, the end of every file held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from manticore.components.tokenizers import read_tokenizer
from manticore.errors import ManticoreError
from manticore.tasks.language.chunking import boundary_tokens
from manticore.tasks.language.decontamination import drop_overlapping
from manticore.tasks.language.documents import SEPARATOR, passages, read_documents
from manticore.tasks.language.splitting import num_bytes
from manticore.utils.io import atomic_dir

FileDocuments = dict[str, list[str]]
"""Documents by the name of their file."""


@dataclass(frozen=True)
class PretrainingText:
    """Documents of a pretraining, by file.

    Attributes:
        train: documents to train on.
        held_out: documents to score on, of the same files.
    """

    train: FileDocuments
    held_out: FileDocuments

    @classmethod
    def read(cls, path: Path, passage: int, held_out: float, decontaminate: Path | None = None) -> PretrainingText:
        """Read a file or folder of documents.

        Args:
            path: .txt, .md, .jsonl or .parquet file, or a folder of such files.
            passage: bytes of a passage; longer documents are cut between paragraphs. 0: documents stay whole.
            held_out: fraction of every file that is held out.
            decontaminate: documents of a later evaluation; paragraphs that share 13 consecutive words with them are
                dropped.

        Raises ManticoreError if a file cannot be read, or has a single document.
        """
        files = read_documents(path.expanduser())
        if decontaminate is not None:
            evaluated = all_documents(read_documents(decontaminate.expanduser()))
            files = {name: drop_overlapping(documents, evaluated) for name, documents in files.items()}
        cut = {
            name: [part for document in documents for part in passages(document, passage)]
            for name, documents in files.items()
        }
        return cls(*hold_out(cut, held_out))

    @property
    def summary(self) -> str:
        """`1,200 documents, 3.1 M characters; held out: 12 documents, 0.0 M characters`."""
        return f"{_summary(self.train)}; held out: {_summary(self.held_out)}"


def all_documents(files: Mapping[str, list[str]]) -> list[str]:
    """The documents of all files, in order."""
    return [document for documents in files.values() for document in documents]


def hold_out(files: Mapping[str, list[str]], share: float) -> tuple[FileDocuments, FileDocuments]:
    """Split every file in two: the documents before, and the last ones, with at least `share` of the file's bytes.

    Each part has at least one document. Raises ManticoreError for a file with a single document.
    """
    train, held_out = {}, {}
    for name, documents in files.items():
        if len(documents) < 2:
            raise ManticoreError(
                f"{name} is a single document, of which no part can be held out; set a smaller passage"
            )
        target, size, start = share * num_bytes(documents), 0, len(documents)
        while start > 1 and size < target:
            start -= 1
            size += num_bytes(documents[start : start + 1])
        train[name], held_out[name] = documents[:start], documents[start:]
    return train, held_out


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder. Raises ManticoreError if there is none, or if it has no end-of-text token."""
    tokenizer = read_tokenizer(str(folder), {"local_files_only": True})
    if tokenizer is None:
        raise ManticoreError(f"{folder} holds no tokenizer that can be read")
    boundary_tokens(tokenizer)
    return tokenizer


def train_tokenizer(documents: list[str], vocabulary: int, length: int, folder: Path) -> PreTrainedTokenizerBase:
    """A byte-level BPE of `vocabulary` tokens, trained on documents and saved in `folder`; loaded if it is there."""
    if not (folder / "tokenizer.json").exists():
        with atomic_dir(folder) as part:
            train_bpe(documents, vocabulary, length).save_pretrained(part)
    return load_tokenizer(folder)


def _summary(files: FileDocuments) -> str:
    documents = all_documents(files)
    return f"{len(documents):,} documents, {sum(map(len, documents)) / 1e6:.1f} M characters"


def train_bpe(texts: Iterable[str], size: int, length: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2) for models of context length `length`.

    It has `size` tokens, the special token `<|endoftext|>` among them. It encodes every string of bytes, and decodes it
    unchanged.
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
