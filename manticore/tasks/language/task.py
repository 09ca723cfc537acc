"""Language modelling: documents in four disjoint parts, read by whatever tokenizer a model has. Knows no data set.

A task starts out as documents. `read_by` gives the same documents as one tokenizer reads them: chunks of tokens, each
labelled with the token that comes next (see `chunks`). All that is counted in bytes is the same for every tokenizer.
"""

from __future__ import annotations

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
from manticore.tasks.task import Task, padded
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.io import write_text

if TYPE_CHECKING:
    import torch

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
        tokenizer: who reads them; None until `read_by`.
    """

    kind = "lm"
    metric = "bits_per_byte"

    def __init__(
        self,
        name: str,
        texts: Callable[[], DocumentSplits],
        length: int,
        seed: int,
        words: str,
        settings: dict[str, object],
        tokenizer: Any = None,
    ) -> None:
        size = 0 if tokenizer is None else len(tokenizer)
        super().__init__(name, Vocabulary.plain(size), (), length, settings=settings)
        self.tokenizer = tokenizer
        self._source = texts
        self._texts: DocumentSplits | None = None
        self._seed = seed
        self._words = words
        self._readings: dict[str, LanguageTask] = {}

    def read_by(self, tokenizer: Any) -> LanguageTask:
        """The task as a tokenizer reads it; the same object for tokenizers that are alike.

        Raises ManticoreError for a slow tokenizer, which cannot say where its tokens are in a text, and for one that
        makes letters small.
        """
        from manticore.components.tokenizers import check_case_sensitive, fingerprint  # here, for it takes seconds

        content = fingerprint(tokenizer)
        check_case_sensitive(tokenizer)
        if content not in self._readings:
            self._readings[content] = LanguageTask(
                self.name, self.texts, self.max_length, self._seed, self._words, self.settings, tokenizer
            )
        return self._readings[content]

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
        if self.tokenizer is None:
            raise ManticoreError(f"task '{self.name}' has no tokens before it is known whose tokenizer reads it")
        groups = self.texts().groups
        chunks = {part: chunk(held, self.tokenizer, self.max_length, groups) for part, held in self.documents().items()}
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
