"""The interface of tasks: labelled token sequences in four disjoint splits, a metric, and the head of their models.

`Task.kind` names the head. A `classification` task has one label for a sequence, a `pair` task one label for two
sequences that are read separately. A `tokens` task has a label for each token, one of the vocabulary or `IGNORE`, which
is predicted at the position of the token. An `autoencoder` task has such labels too, all decoded from the last hidden
state. An `lm` task has the next token as each token's label, and no vocabulary of its own (see `language`). Other kinds
are heads that a user registers.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks.dataset import Example, Splits, check_disjoint, pad_batch
from manticore.tasks.heuristics import Feature, HeuristicAnswers, constant, heuristic_answers
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.registry import Registry

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from manticore.modeling.heads import Head

EXAMPLE_TOKENS = 64
"""Largest number of tokens in `Task.example_text`."""


@dataclass(frozen=True)
class HeadSpec:
    """The head and the vocabulary that a task needs.

    Attributes:
        kind: name of a head in `manticore.modeling.heads.HEADS`, or `lm`: the components' own language-model heads.
        vocab_size: rows of a new embedding table; None keeps the components' own.
        labels: outputs of a new head for each prediction; 0 for `lm`.
    """

    kind: str = "lm"
    vocab_size: int | None = None
    labels: int = 0


class Task(ABC):
    """Token sequences with labels.

    Attributes:
        name: name of the task in results, with a variant after `@`, such as `lra-listops@short`.
        kind: name of the head that predicts the labels; see the module.
        metric: name of a metric in `manticore.training.metrics`: `accuracy`, of sequences or of the tokens that are
            scored, or `bits_per_byte`, of text, or one that a user registers.
        is_language_modeling: whether the labels are the next tokens of text, read by each component's own tokenizer.
        tokenizer: the tokenizer that reads the text of a language task, once `with_tokenizer` has set it; else None.
        text_unit: what a token of text is: `words` between spaces, `bytes` or `characters`.
        vocabulary: tokens and special ids.
        label_names: names of the classes, by class index; the tokens of the vocabulary if tokens are labelled.
        max_length: largest number of tokens of a sequence, EOS included.
        settings: settings after `@` in the name, with their values.
        sizes: number of examples of train, val and test, if it is known before the examples are read or generated.
        files: required content of `--data-dir`, and its publisher; empty if the task reads no files.
        replacements: (old, new) pairs of text, replaced in this order in the official written form of an input, which
            is then split at spaces into tokens.
        features: by name, features of the input that `heuristic_baselines` predicts the labels from.
    """

    kind: str = "classification"
    metric: str = "accuracy"
    is_language_modeling: bool = False
    tokenizer: PreTrainedTokenizerBase | None = None
    text_unit: str = "words"
    files: str = ""

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        label_names: Iterable[str],
        max_length: int,
        features: Mapping[str, Feature] | None = None,
        replacements: Iterable[tuple[str, str]] = (),
        settings: Mapping[str, object] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.label_names = tuple(label_names)
        self.max_length = max_length
        self.features = dict(features or {})
        self.replacements = tuple(replacements)
        self.settings = dict(settings or {})
        self.sizes = dict(sizes or {})
        self._splits: Splits | None = None

    @abstractmethod
    def build(self) -> Splits:
        """Read or generate the four splits; `splits` calls it once."""

    @abstractmethod
    def origin(self) -> str:
        """Where the examples come from, as a phrase such as `generated with seed 0`."""

    def write(self, folder: Path) -> list[Path]:
        """Write the task in its official file format and return the files. Raises ManticoreError if it has none."""
        raise ManticoreError(f"task '{self.name}' has no official file format to write")

    def shorter_settings(self) -> dict[str, object]:
        """Settings of a variant with shorter sequences, where a model learns sooner.

        Raises ManticoreError if the task has none.
        """
        raise ManticoreError(
            f"search.shorter_sequences: task '{self.name}' has no shorter variant; give its settings as "
            "search.task_settings, if it has some"
        )

    def info(self) -> TaskInfo:
        """The description of the task without its examples."""
        return TaskInfo(
            kind=self.kind,
            metric=self.metric,
            label_names=self.label_names,
            settings=self.settings,
            vocabulary=self.vocabulary.size,
            max_length=self.max_length,
            sizes=self.sizes,
            origin=self.origin(),
            files=self.files,
        )

    @property
    def num_labels(self) -> int:
        """Number of classes; the size of the vocabulary if tokens are labelled."""
        return len(self.label_names)

    @property
    def per_token(self) -> bool:
        """Whether each token has a label. Raises UnknownName if no head is registered as `kind`."""
        return self._head().per_token

    @property
    def sequences(self) -> int:
        """Sequences of an example that a model reads separately; 2 for pairs. Raises UnknownName as `per_token`."""
        return self._head().sequences

    def _head(self) -> type[Head]:
        from manticore.modeling.heads import HEADS  # here, so that tasks can be listed without torch

        if self.kind not in HEADS:
            raise UnknownName("kind of task", self.kind, HEADS)
        return HEADS[self.kind]

    def splits(self) -> Splits:
        """The four splits, built at the first call.

        Raises ManticoreError if two splits share an input, or the labels are not those of the head `kind`.
        """
        if self._splits is None:
            splits = self.build()
            check_disjoint(splits)
            self._check_labels(splits)
            self._splits = splits
        return self._splits

    def _check_labels(self, splits: Splits) -> None:
        for name, examples in vars(splits).items():
            if len(examples.flat) > len(examples) and examples.per_token != self.per_token:
                labelled, predicted = ("token", "sequence") if examples.per_token else ("sequence", "token")
                raise ManticoreError(
                    f"task '{self.name}' has a label for each {labelled} of {name}; "
                    f"the head '{self.kind}' predicts one for each {predicted}"
                )

    def heuristic_baselines(self) -> dict[str, float]:
        """Test accuracy of predicting the labels from one feature, by its name, fitted on the split `train`.

        Empty for a task with another metric than accuracy.
        """
        return {name: answers.accuracy for name, answers in self.heuristic_answers().items()}

    def heuristic_answers(self) -> dict[str, HeuristicAnswers]:
        """The answers on test that `heuristic_baselines` counts, by the name of the feature."""
        if self.metric != "accuracy":
            return {}
        splits = self.splits()
        features = {"majority token" if self.per_token else "majority class": constant, **self.features}
        return {name: heuristic_answers(splits.train, splits.test, feature) for name, feature in features.items()}

    def describe(self) -> str:
        """One line: name, sizes, lengths, labels, origin."""
        splits = vars(self.splits())
        sizes = ", ".join(f"{name} {len(examples):,}" for name, examples in splits.items())
        lengths = np.concatenate([examples.lengths for examples in splits.values()])
        notes = [f"mean {lengths.mean():.0f}"] if lengths.min() < lengths.max() else []
        notes += ["EOS included"] if self.vocabulary.has_specials else []
        tokens = f"{'-'.join(map(str, np.unique([lengths.min(), lengths.max()])))} tokens"
        tokens += f" ({', '.join(notes)})" if notes else ""
        labels = f"one of {self.num_labels} tokens at each position" if self.per_token else f"{self.num_labels} classes"
        return f"{self.name}: {sizes}; {tokens}, {labels}; {self.origin()}"

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None, owner: str = "the model") -> Task:
        """The task as a tokenizer reads it: the task itself, unless it is a language task.

        Args:
            tokenizer: of a model; None if it has none.
            owner: name of the model that has the tokenizer, for the error message.

        Raises ManticoreError if a language task gets no tokenizer, or one that cannot read its text.
        """
        return self

    def with_splits(self, splits: Splits) -> Task:
        """The same task with other examples, which are not checked again."""
        task = copy(self)
        task._splits = splits
        return task

    def documents(self) -> dict[str, list[str]]:
        """The documents of each split of a language task. Raises ManticoreError for any other task."""
        raise ManticoreError(f"task '{self.name}' is no language task and has no documents")

    @property
    def head_spec(self) -> HeadSpec:
        """The head and the vocabulary that a model needs for this task."""
        return HeadSpec(self.kind, self.vocabulary.size, self.num_labels)

    def hf_tokenizer(self) -> PreTrainedTokenizerBase:
        """A Hugging Face tokenizer that reads text as the task does, to be saved beside a model's weights."""
        from manticore.tasks.hf_tokenizer import build_tokenizer  # here, because transformers takes seconds to import

        return build_tokenizer(self)

    def config_fields(self) -> dict[str, Any]:
        """Fields of an exported model's configuration: names of the labels, ids of special tokens, the task's name."""
        vocabulary = self.vocabulary
        special = {"pad_token_id": vocabulary.pad, "eos_token_id": vocabulary.eos} if vocabulary.has_specials else {}
        return {
            "id2label": dict(enumerate(self.label_names)),
            "label2id": {name: index for index, name in enumerate(self.label_names)},
            **special,
            "task": self.name,
        }

    def fingerprint(self) -> str:
        """32 hex digits that depend on every example of the task, and on the split that it is in."""
        splits, digest = self.splits(), hashlib.blake2b(digest_size=16)
        for examples in (splits.train, splits.train_arch, splits.val, splits.test):
            for array in (examples.flat, examples.offsets, examples.labels):
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(array.data)
        return digest.hexdigest()

    def example_text(self) -> str | None:
        """The start of a validation input as text; None for tasks that read any text."""
        if self.vocabulary.has_specials:
            return None
        ids, _ = self.splits().val[0]
        return " ".join(self.vocabulary.decode(ids[:EXAMPLE_TOKENS].tolist()))

    def without_examples(self) -> Self:
        """A copy that makes batches in another process: without examples, and without functions that make them.

        Of private attributes it has those that are numbers, texts or arrays.
        """
        kept: dict[str, Any] = {}
        for name, value in vars(self).items():
            is_plain = isinstance(value, str | int | float | tuple | np.ndarray)
            kept[name] = value if not name.startswith("_") or is_plain else None
        copied = object.__new__(type(self))
        vars(copied).update(kept, features={})
        return copied

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch, padded on the right to its longest sequence.

        Returns:
            `input_ids` and `attention_mask`, (B, L) int64, and `labels`, (B,) int64; (B, L) if tokens are labelled,
            with `IGNORE` where nothing is scored.
        """
        return pad_batch(batch, self.vocabulary.pad, self.per_token)


TaskFactory = Callable[[TaskOptions], Task]

tasks: Registry[TaskFactory] = Registry("task")
"""Functions that make a task from options, by its name. `manticore.tasks` has the tasks of the package registered."""

task_infos: Registry[Callable[[TaskOptions], TaskInfo]] = Registry("task_info")
"""Functions that make the `TaskInfo` of a task whose own function reads files. All others have `Task.info`."""
