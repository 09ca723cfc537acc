"""What a task is: labelled token sequences in four disjoint parts. Knows no particular task and no model.

There are five kinds. A `classification` task has one label for a sequence, a `pair` task one for two sequences that are
read apart. A `tokens` task has a label for each token, one of the vocabulary or `IGNORE`, to be told where the token
stands. An `autoencoder` task has such labels too, all to be told from the last token's state. An `lm` task has the next
token as each token's label, and no vocabulary of its own: see `language`.

The four parts are those of a bilevel search: network weights learn from `weights`, architecture weights from `alphas`,
models are chosen on `choice`, and `test` is read once. `Task.splits` checks that they share no example.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE, Example, Examples, Label, Splits, check_disjoint, halves
from manticore.tasks.heuristics import Feature, constant, heuristic_accuracy
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import PRESETS, TaskOptions
from manticore.tasks.vocabulary import EOS, PAD, UNK, Vocabulary
from manticore.utils.registry import Registry

__all__ = [
    "EOS",
    "IGNORE",
    "KINDS",
    "PAD",
    "PRESETS",
    "UNK",
    "Example",
    "Examples",
    "Feature",
    "Label",
    "Splits",
    "Task",
    "TaskFactory",
    "TaskInfo",
    "TaskOptions",
    "Vocabulary",
    "check_disjoint",
    "halves",
    "heuristic_accuracy",
    "task_infos",
    "tasks",
]

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


EXAMPLE_TOKENS = 64
"""Most tokens in `Task.example_text`."""

KINDS = ("classification", "tokens", "autoencoder", "pair", "lm")


@dataclass(frozen=True)
class HeadSpec:
    """The head and the vocabulary that a task needs.

    Attributes:
        kind: name of a head in `manticore.modeling.heads.HEADS`, or `lm`: the components' own language-model heads.
        vocab_size: rows of a new embedding table; None keeps the components' own.
        labels: outputs of a new head for each answer; 0 for `lm`.
    """

    kind: str = "lm"
    vocab_size: int | None = None
    labels: int = 0


class Task(ABC):
    """Token sequences and what is to be said of them.

    Attributes:
        name: what results are filed under, with a variant after `@`, such as `lra-listops@short`.
        kind: one of `KINDS`; see the module.
        metric: `accuracy`, of sequences or of the tokens that are scored; or `bits_per_byte`, of text.
        vocabulary: tokens and special ids.
        label_names: names of the classes, a class's index being its place; the vocabulary's tokens where tokens are
            labelled.
        max_length: most tokens a sequence can have, EOS included.
        settings: what can be set after `@` in the name the task is asked for by, with the values it has.
        sizes: examples of train, val and test, where that is known before there are any.
        files: what `--data-dir` must hold and who has it, in words; empty if the task reads no files.
        rewrites: (old, new) pairs of text, replaced in this order in an input's official written form; what is left,
            split at spaces, is its tokens.
        cues: by name, something cheap to see in a sequence (one integer for each label); `guesses` scores what it is
            worth.
        is_language_modeling: whether the labels are the next tokens of text, read by each component's own tokenizer.
        tokenizer: the tokenizer that reads the text of a language task, once `with_tokenizer` has set it; else None.
    """

    kind: str = "classification"
    metric: str = "accuracy"
    files: str = ""
    is_language_modeling: bool = False
    tokenizer: PreTrainedTokenizerBase | None = None

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        label_names: Iterable[str],
        max_length: int,
        cues: Mapping[str, Feature] | None = None,
        rewrites: Iterable[tuple[str, str]] = (),
        settings: Mapping[str, object] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.label_names = tuple(label_names)
        self.max_length = max_length
        self.cues = dict(cues or {})
        self.rewrites = tuple(rewrites)
        self.settings = dict(settings or {})
        self.sizes = dict(sizes or {})
        self._splits: Splits | None = None

    @abstractmethod
    def build(self) -> Splits:
        """Read or generate the four splits; called once, by `splits`."""

    @abstractmethod
    def origin(self) -> str:
        """Where the examples come from, in words that go after the numbers in `describe`."""

    def write(self, folder: Path) -> list[Path]:
        """Write the task in its official file format and return the files. Raises ManticoreError if it has none."""
        raise ManticoreError(f"task '{self.name}' has no official file format to write")

    def sheet(self) -> TaskInfo:
        """What is known of the task before it has any examples."""
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
        """Number of classes, the vocabulary's size where tokens are labelled."""
        return len(self.label_names)

    @property
    def per_token(self) -> bool:
        """Whether each token has a label."""
        return self.kind in ("tokens", "autoencoder", "lm")

    @property
    def sequences(self) -> int:
        """Sequences in an example that a model reads apart: two in a pair."""
        return 2 if self.kind == "pair" else 1

    def splits(self) -> Splits:
        """The four splits, made at the first call. Raises ManticoreError if any two share an example."""
        if self._splits is None:
            splits = self.build()
            check_disjoint(splits)
            self._splits = splits
        return self._splits

    def guesses(self) -> dict[str, float]:
        """Test accuracy of predictors that see the cue of their name and nothing else, fitted on the weights split."""
        splits = self.splits()
        cues = {"majority token" if self.per_token else "majority class": constant, **self.cues}
        return {name: heuristic_accuracy(splits.train, splits.test, cue) for name, cue in cues.items()}

    def describe(self) -> str:
        """One line for humans: name, sizes, lengths, origin."""
        held = {field.name: getattr(self.splits(), field.name) for field in fields(Splits)}
        sizes = ", ".join(f"{name} {len(examples):,}" for name, examples in held.items())
        lengths = np.concatenate([examples.lengths for examples in held.values()])
        notes = [f"mean {lengths.mean():.0f}"] if lengths.min() < lengths.max() else []
        notes += ["EOS included"] if self.vocabulary.has_specials else []
        long = f"{'-'.join(map(str, np.unique([lengths.min(), lengths.max()])))} tokens"
        long += f" ({', '.join(notes)})" if notes else ""
        labels = f"one of {self.num_labels} tokens at each place" if self.per_token else f"{self.num_labels} classes"
        return f"{self.name}: {sizes}; {long}, {labels}; {self.origin()}"

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None, owner: str = "the model") -> Task:
        """The task as a tokenizer reads it: the task itself, unless it is a language task.

        Args:
            tokenizer: of a model; None if it has none.
            owner: what has the tokenizer, for the error message.

        Raises ManticoreError if a language task gets no tokenizer, or one that cannot read its text.
        """
        return self

    def documents(self) -> dict[str, list[str]]:
        """The documents of each split of a language task. Raises ManticoreError for any other task."""
        raise ManticoreError(f"task '{self.name}' is no language task and has no documents")

    @property
    def head_spec(self) -> HeadSpec:
        """The head and the vocabulary that a model needs for this task."""
        return HeadSpec(self.kind, self.vocabulary.size, self.num_labels)

    def hf_tokenizer(self) -> PreTrainedTokenizerBase:
        """A Hugging Face tokenizer that reads text as the task does, to be saved beside a model's weights."""
        from manticore.tasks.hf_tokenizer import build_tokenizer  # here, for transformers takes seconds to import

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
        splits, out = self.splits(), hashlib.blake2b(digest_size=16)
        for examples in (splits.train, splits.train_arch, splits.val, splits.test):
            for array in (examples.flat, examples.offsets, examples.labels):
                out.update(f"{array.dtype}{array.shape}".encode())
                out.update(array.data)
        return out.hexdigest()

    def example_text(self) -> str | None:
        """The start of a validation input as text; None for tasks that read any text."""
        if self.vocabulary.has_specials:
            return None
        ids, _ = self.splits().val[0]
        return " ".join(self.vocabulary.decode(ids[:EXAMPLE_TOKENS].tolist()))

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch, padded on the right to its longest sequence.

        Returns:
            `input_ids` and `attention_mask`, (B, L) int64, and `labels`, (B,) int64; where tokens are labelled (B, L),
            `IGNORE` where nothing is scored.
        """
        return padded(batch, self.vocabulary.pad, self.per_token)


def padded(batch: Sequence[Example], pad: int, per_token: bool) -> dict[str, torch.Tensor]:
    """`Task.collate`, for whoever has no task: `pad` fills the rows, and labels are each token's if `per_token`."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.full((len(batch), longest), pad, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, (ids, _) in enumerate(batch):
        input_ids[row, : len(ids)] = torch.from_numpy(ids)
        attention_mask[row, : len(ids)] = 1
    if per_token:
        labels = torch.full_like(input_ids, IGNORE)
        for row, (ids, label) in enumerate(batch):
            labels[row, : len(ids)] = torch.as_tensor(label)
    else:
        labels = torch.tensor([label for _, label in batch], dtype=torch.int64)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


TaskFactory = Callable[[TaskOptions], Task]

tasks: Registry[TaskFactory] = Registry("task")
"""Everything that makes a task from options, by name. Import it from `manticore.tasks`, where ours are entered."""

task_infos: Registry[Callable[[TaskOptions], TaskInfo]] = Registry("sheet")
"""Sheets of those tasks whose factory reads files, by the task's name; the others' come from `Task.sheet`."""
