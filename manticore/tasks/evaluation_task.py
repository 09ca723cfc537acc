"""Examples in memory that are all scored: the test split of a task without other splits, as a trained model reads them.

Tokens and labels are those of the model: texts are encoded by its tokenizer, and a label is one of its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.classification.labelled import Record, classes_of, labels_of
from manticore.tasks.dataset import IGNORE, Example, Examples, Splits, pad_batch
from manticore.tasks.items import label_names, read_items
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.documents import passages
from manticore.tasks.language.text import PASSAGE
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

NAME = "own"
"""Name of the examples in results."""


class EvaluationTask(Task):
    """A task whose splits are empty except `test`.

    Args:
        test: the examples.
        vocabulary, label_names, max_length: see `Task`.
        kind: name of the head that predicts the labels; `lm`: language modelling.
        tokenizer: the tokenizer that has read the text of language modelling.
    """

    def __init__(
        self,
        test: Examples,
        vocabulary: Vocabulary,
        label_names: Sequence[str],
        max_length: int,
        kind: str,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__(NAME, vocabulary, label_names, max_length)
        self.kind = kind
        self.tokenizer = tokenizer
        self.is_language_modeling = kind == "lm"
        self.metric = "bits_per_byte" if self.is_language_modeling else "accuracy"
        self._test = test

    def build(self) -> Splits:
        """All examples are in `test`."""
        none = self._test.take([])
        return Splits(train=none, train_arch=none, val=none, test=self._test)

    def origin(self) -> str:
        """Where the examples come from."""
        return "examples in memory"

    @property
    def per_token(self) -> bool:
        """Whether each token has a label."""
        return self.is_language_modeling or super().per_token

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch, padded on the right with the tokenizer's or the vocabulary's padding."""
        pad = self.vocabulary.pad if self.tokenizer is None else self.tokenizer.pad_token_id
        return pad_batch(batch, pad or 0, self.per_token)


def text_evaluation_task(items: Any, tokenizer: PreTrainedTokenizerBase, length: int) -> EvaluationTask:
    """Language modelling of texts, in chunks of at most `length` tokens.

    Texts are cut into passages as the task `text` cuts them. Raises ManticoreError for other items than texts.
    """
    records = read_items(items, "test")
    if tuple(records[0]) != ("text",):
        raise ManticoreError("this is a language model, which is scored on texts, and test[0] has a label")
    texts = [part for record in records if record["text"].strip() for part in passages(record["text"], PASSAGE)]
    return EvaluationTask(
        chunk(texts, tokenizer, length), Vocabulary.plain(len(tokenizer)), (), length, "lm", tokenizer
    )


def labelled_evaluation_task(
    items: Any, kind: str, vocabulary_size: int, names: Sequence[str], tokenizer: PreTrainedTokenizerBase | None
) -> EvaluationTask:
    """Labelled examples for a model that predicts labels.

    Args:
        items: (text, label), (tokens, label), or records or a dataset with such columns.
        kind: name of the model's head.
        vocabulary_size: number of the model's token ids.
        names: the model's classes, by index.
        tokenizer: the model's; None: tokens are ids.

    Raises ManticoreError if an item is something else, UnknownName for a label that is no class of the model.
    """
    records = read_items(items, "test")
    if len(records[0]) == 1:
        raise ManticoreError("this model predicts labels: an item is (text, label) or (tokens, label), not a text")
    vocabulary = _vocabulary(tokenizer, vocabulary_size)
    index_of = {name: index for index, name in enumerate(names)}
    columns = label_names(items)
    pairs = []
    for index, record in enumerate(records):
        ids = _encode(record, vocabulary, tokenizer)
        if max(ids, default=0) >= vocabulary_size:
            raise ManticoreError(f"test[{index}] has the token {max(ids)}; the model reads {vocabulary_size} token ids")
        classes = classes_of(_with_names(record, columns), index_of)
        per_token = classes[: len(ids)] + [IGNORE] * (len(ids) - len(classes))
        pairs.append((ids, per_token if "labels" in record else classes[0]))
    test = Examples.pack(pairs)
    return EvaluationTask(test, vocabulary, names, int(np.max(test.lengths)), kind)


def _vocabulary(tokenizer: PreTrainedTokenizerBase | None, size: int) -> Vocabulary:
    """The tokens of a model, by id."""
    if tokenizer is None:
        return Vocabulary.plain(size)
    ids = tokenizer.get_vocab()
    return Vocabulary(tuple(sorted(ids, key=lambda token: ids[token])))


def _encode(record: Record, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """The ids of a text or of tokens, with the end of a sequence where the model's own task has one."""
    if tokenizer is None:
        if isinstance(record.get("tokens", [""])[0], str):
            raise ManticoreError("the model has no tokenizer beside its weights; give token ids, or tokenizer=...")
        return list(record["tokens"])
    if "text" in record:
        return list(tokenizer(record["text"], truncation=True)["input_ids"])
    if not isinstance(record["tokens"][0], str):
        return list(record["tokens"])
    end = [vocabulary.eos] if vocabulary.has_specials else []
    return vocabulary.encode(record["tokens"])[: tokenizer.model_max_length - len(end)] + end


def _with_names(record: Record, names: Sequence[str]) -> Record:
    """The record with the names that its dataset gives to numbers of classes."""
    if not names:
        return record
    known = dict(enumerate(names))
    named = [known.get(label, label) for label in labels_of(record)]
    return {**record, "labels": named} if "labels" in record else {**record, "label": named[0]}
