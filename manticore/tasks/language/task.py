"""Language modelling: documents in four disjoint splits, and their chunks of tokens under one tokenizer.

A task begins as documents. `LanguageTask.with_tokenizer` returns the same documents as chunks of tokens, each token
labelled with the next one (see `chunking`). All quantities in bytes are equal for all tokenizers. Knows no data set.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Example, Examples, Splits, drop_matching
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import PARTS, number
from manticore.tasks.task import HeadSpec, Task, padded
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.io import write_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LENGTHS = {"cpu": 256, "paper": 1024}
"""Tokens of a chunk, by preset."""

HELPS = {"length": "tokens a model sees at once; no more than it has positions for, unless set"}


class LanguageTask(Task):
    """Documents, and their tokens once it is known who reads them.

    Args:
        name, settings: see `Task`.
        texts: gets the documents when they are first needed.
        length: most tokens of a chunk.
        seed: of the division of train into weights and alphas.
        words: where the documents come from, for `describe`.
        tokenizer: who reads them; None until `with_tokenizer`.
    """

    kind = "lm"
    metric = "bits_per_byte"
    is_language_modeling = True

    def __init__(
        self,
        name: str,
        texts: Callable[[], DocumentSplits],
        length: int,
        seed: int,
        words: str,
        settings: dict[str, object],
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        size = 0 if tokenizer is None else len(tokenizer)
        super().__init__(name, Vocabulary.plain(size), (), length, settings=settings)
        self.tokenizer = tokenizer
        self._source = texts
        self._texts: DocumentSplits | None = None
        self._seed = seed
        self._words = words
        self._readings: dict[str, LanguageTask] = {}

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None, owner: str = "the model") -> LanguageTask:
        """The task as a tokenizer reads it; the same object for tokenizers with equal contents.

        Raises ManticoreError if there is no tokenizer, if it is a slow one, which has no character offsets, or if it
        lowercases.
        """
        from manticore.components.tokenizers import check_case_sensitive, fingerprint  # here, for it takes seconds

        if tokenizer is None:
            raise ManticoreError(f"{owner} has no tokenizer beside its weights, and cannot read text")
        content = fingerprint(tokenizer)
        check_case_sensitive(tokenizer)
        if content not in self._readings:
            self._readings[content] = LanguageTask(
                self.name, self.texts, self.max_length, self._seed, self._words, self.settings, tokenizer
            )
        return self._readings[content]

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

    def texts(self) -> DocumentSplits:
        """The documents, got at the first call."""
        if self._texts is None:
            self._texts = self._source()
        return self._texts

    def documents(self) -> dict[str, list[str]]:
        """The documents of the four splits, test first; train is halved by the seed, a group on one side only."""
        texts = self.texts()
        weights, alphas = texts.halves(self._seed, self.name)
        return {"test": texts.test, "val": texts.val, "train_arch": alphas, "train": weights}

    def build(self) -> Splits:
        """Chunks of the documents. What occurs twice is dropped where it is learnt from, never from test."""
        tokenizer, groups = self.hf_tokenizer(), self.texts().groups
        chunks = {part: chunk(held, tokenizer, self.max_length, groups) for part, held in self.documents().items()}
        seen: set[bytes] = set()
        test = chunks.pop("test")
        seen.update(test.fingerprints())
        rest = {part: drop_matching(seen, f"{self.name} chunks", part, held) for part, held in chunks.items()}
        return Splits(train=rest["train"], train_arch=rest["train_arch"], val=rest["val"], test=test)

    def origin(self) -> str:
        """Where the documents come from."""
        return self._words

    def sheet(self) -> TaskInfo:
        """What is known before there is a tokenizer."""
        return replace(super().sheet(), vocabulary=None, helps=HELPS)

    def guesses(self) -> dict[str, float]:
        """Nothing: without a model there is no telling of text."""
        return {}

    def describe(self) -> str:
        """One line for humans: documents, chunks and bytes of each split, kinds of token, origin."""
        splits, texts = self.splits(), self.texts()
        sizes = ", ".join(f"{part} {len(held):,} ({_bytes(held) / 1e6:.2f} MB)" for part, held in vars(splits).items())
        documents = len(texts.train) + len(texts.val) + len(texts.test)
        return (
            f"{self.name}: {documents:,} documents in chunks of up to {self.max_length} tokens: {sizes}; "
            f"{self.vocabulary.size:,} kinds of token; {self._words}"
        )

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch of chunks, padded on the right with the tokenizer's own token where it has one."""
        pad = None if self.tokenizer is None else self.tokenizer.pad_token_id
        return padded(batch, pad or 0, self.per_token)

    def write(self, folder: Path) -> list[Path]:
        """train.jsonl, val.jsonl and test.jsonl: a record for each document, and its `group` if others are in it."""
        files = {part: folder / f"{part}.jsonl" for part in PARTS}
        for file in files.values():
            if file.exists():
                raise ManticoreError(f"{file} exists; choose another folder")
        texts = self.texts()
        names = [texts.groups.get(text, text) for part in PARTS for text in getattr(texts, part)]
        numbers = {name: number for number, (name, count) in enumerate(Counter(names).items()) if count > 1}
        for part, file in files.items():
            records: list[dict[str, object]] = []
            for text in getattr(texts, part):
                number = numbers.get(texts.groups.get(text, text))
                records.append({"text": text} if number is None else {"text": text, "group": number})
            write_text(file, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))
        return list(files.values())


def _bytes(examples: Examples) -> int:
    return 0 if examples.sizes is None else int(np.sum(examples.sizes))


def length_of(options: TaskOptions) -> int:
    """Tokens of a chunk: what is set after `@`, or the preset's. Raises ManticoreError."""
    return number(options, "length", LENGTHS[choose_preset(options.preset)[0]], range(2, 1 << 20))
