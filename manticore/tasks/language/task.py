"""Language modelling: documents in four disjoint splits, and their chunks of tokens under one tokenizer.

A task begins as documents. `LanguageTask.with_tokenizer` returns the same documents as chunks of tokens, each token
labelled with the next one (see `chunking`). All quantities in bytes are equal for all tokenizers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Example, Examples, Splits, drop_seen, pad_batch
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.task import HeadSpec, Task
from manticore.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LENGTHS = {"cpu": 256, "paper": 1024}
"""Largest number of tokens of a chunk, by preset."""

SETTING_HELP = {"length": "tokens of a chunk; default: the preset's, or the models' context length if that is shorter"}
"""Meaning of the setting that all language tasks have."""


class LanguageTask(Task):
    """Documents in splits, and their chunks of tokens under a tokenizer.

    Args:
        name, settings: see `Task`.
        load: returns the documents; called when they are first needed.
        length: largest number of tokens of a chunk.
        seed: seed of the halves of train.
        origin: where the documents come from; see `Task.origin`.
        tokenizer: the tokenizer that reads them; None until `with_tokenizer`.
    """

    kind = "lm"
    metric = "bits_per_byte"
    is_language_modeling = True

    def __init__(
        self,
        name: str,
        load: Callable[[], DocumentSplits],
        length: int,
        seed: int,
        origin: str,
        settings: dict[str, object],
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        size = 0 if tokenizer is None else len(tokenizer)
        super().__init__(name, Vocabulary.plain(size), (), length, settings=settings)
        self.tokenizer = tokenizer
        self._load = load
        self._texts: DocumentSplits | None = None
        self._seed = seed
        self._origin = origin
        self._by_tokenizer: dict[str, LanguageTask] = {}

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None, owner: str = "the model") -> LanguageTask:
        """The task as a tokenizer reads it; the same object for tokenizers with equal contents.

        Raises ManticoreError if there is no tokenizer, if it is a slow one, which has no character offsets, or if it
        lowercases.
        """
        # Imported here, because transformers takes seconds.
        from manticore.components.tokenizers import check_case_sensitive, fingerprint

        if tokenizer is None:
            raise ManticoreError(f"{owner} has no tokenizer beside its weights, and cannot read text")
        content = fingerprint(tokenizer)
        check_case_sensitive(tokenizer)
        if content not in self._by_tokenizer:
            task = LanguageTask(
                self.name, self.texts, self.max_length, self._seed, self._origin, self.settings, tokenizer
            )
            task._by_tokenizer = self._by_tokenizer  # so that no text is tokenized twice, whichever task it is read by
            self._by_tokenizer[content] = task
        return self._by_tokenizer[content]

    def with_texts(self, texts: DocumentSplits) -> LanguageTask:
        """The task with other documents, which the same tokenizer reads."""
        return LanguageTask(
            self.name, lambda: texts, self.max_length, self._seed, self._origin, self.settings, self.tokenizer
        )

    @property
    def head_spec(self) -> HeadSpec:
        """The components' own embeddings and heads."""
        return HeadSpec()

    def hf_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that reads the text. Raises ManticoreError before `with_tokenizer`."""
        if self.tokenizer is None:
            raise ManticoreError(f"task '{self.name}' has no tokenizer; call with_tokenizer first")
        return self.tokenizer

    def config_fields(self) -> dict[str, Any]:
        """The task's name and the tokenizer's special tokens."""
        special = ("pad_token_id", "bos_token_id", "eos_token_id")
        return {"task": self.name, **{name: getattr(self.hf_tokenizer(), name) for name in special}}

    def fingerprint(self) -> str:
        """32 hex digits of the documents, their splits and the length of chunks; equal for all tokenizers."""
        content = json.dumps([self.max_length, self.documents()])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def example_text(self) -> None:
        """None: the task reads any text."""

    @property
    def per_token(self) -> bool:
        """True: each token has the next one as its label."""
        return True

    @property
    def sequences(self) -> int:
        """1: a chunk is one sequence."""
        return 1

    def texts(self) -> DocumentSplits:
        """The documents of the splits, loaded at the first call."""
        if self._texts is None:
            self._texts = self._load()
        return self._texts

    def documents(self) -> dict[str, list[str]]:
        """The documents of the four splits; the halves of train depend on the seed, and no group is in both."""
        texts = self.texts()
        train, train_arch = texts.halves(self._seed, self.name)
        return {"test": texts.test, "val": texts.val, "train_arch": train_arch, "train": train}

    def build(self) -> Splits:
        """Chunks of the documents. Duplicates are dropped from the splits other than test."""
        tokenizer, groups = self.hf_tokenizer(), self.texts().groups
        documents = self.documents()
        chunks = {split: chunk(texts, tokenizer, self.max_length, groups) for split, texts in documents.items()}
        test = chunks.pop("test")
        seen = set(test.fingerprints())
        rest = {split: drop_seen(seen, f"{self.name} chunks", split, examples) for split, examples in chunks.items()}
        return Splits(train=rest["train"], train_arch=rest["train_arch"], val=rest["val"], test=test)

    def origin(self) -> str:
        """Where the documents come from."""
        return self._origin

    def info(self) -> TaskInfo:
        """The description of the task, without a tokenizer."""
        return replace(super().info(), vocabulary=None, setting_help=SETTING_HELP)

    def describe(self) -> str:
        """One line: documents, chunks and bytes of each split, size of the vocabulary, origin."""
        splits, texts = self.splits(), self.texts()
        sizes = ", ".join(
            f"{split} {len(examples):,} ({_num_bytes(examples) / 1e6:.2f} MB)"
            for split, examples in vars(splits).items()
        )
        documents = sum(map(len, texts.by_name.values()))
        return (
            f"{self.name}: {documents:,} documents in chunks of up to {self.max_length} tokens: {sizes}; "
            f"vocabulary of {self.vocabulary.size:,} tokens; {self._origin}"
        )

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch of chunks, padded on the right with the tokenizer's padding token, or id 0 if it has none."""
        pad = None if self.tokenizer is None else self.tokenizer.pad_token_id
        return pad_batch(batch, pad or 0, self.per_token)

    def write(self, folder: Path) -> list[Path]:
        """train.jsonl, val.jsonl and test.jsonl; see `DocumentSplits.write`."""
        return self.texts().write(folder)


def _num_bytes(examples: Examples) -> int:
    return 0 if examples.num_bytes is None else int(np.sum(examples.num_bytes))


def chunk_length(options: TaskOptions) -> int:
    """Tokens of a chunk: the setting `length`, or the preset's. Raises ManticoreError."""
    return options.int_setting("length", LENGTHS[choose_preset(options.preset)[0]], range(2, 1 << 20))
