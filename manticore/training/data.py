"""The LightningDataModule of a task: the streams of batches of a search or a fine-tuning, and evaluation batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
from transformers import PreTrainedTokenizerBase

from manticore.errors import ManticoreError, shown
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.nas.supernet import Supernet
from manticore.tasks.catalog import load_task
from manticore.tasks.data import TaskSource
from manticore.tasks.dataset import Batch, Examples, concat
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import HeadSpec, Task
from manticore.training.batching import BatchSampler, Collate, StepDataLoader
from manticore.training.modules import TrainModule
from manticore.utils.console import make_console
from manticore.utils.fields import NonNegativeInt, PositiveInt, convert, from_mapping


class SearchData(lightning.LightningDataModule):
    """The splits of a task, as the module that is trained reads them.

        trainer.fit(mc.SearchModule(supernet, "darts"), mc.SearchData("lra-listops"))

    A search gets a batch of each stream of its strategy, from disjoint splits: weights and alphas never see the same
    example. Other modules get `train` and `train_arch` together. Validation batches are of `val`, test batches of
    `test`. Batches depend on the seed and the step alone, and the position is part of Lightning's checkpoints: a
    training that is resumed with `ckpt_path` sees the same batches as one that was never interrupted.

    Args:
        task: a `Task`, the name of one, a mapping of its options (name, preset, data_dir, train, val, test, ...), or
            data: what `mc.task` returns or takes.
        batch_size: sequences in a training batch. Default: the module's, which is `search.batch_size` or 64.
        seed: seed of the order of the batches.
        tokenizer: tokenizer of the text of a language task. Default: that of the supernet's base model.
        eval_batch_size: sequences in a validation or test batch.

    Raises ManticoreError if the task cannot be loaded, or if the network that is trained has no head for it.
    """

    def __init__(
        self,
        task: Any,
        batch_size: int | None = None,
        *,
        seed: int = 0,
        tokenizer: PreTrainedTokenizerBase | None = None,
        eval_batch_size: int = 256,
    ) -> None:
        super().__init__()
        self.task = task if isinstance(task, Task) else read_task(task)
        self.batch_size: int | None = convert(batch_size, PositiveInt | None, "batch_size")
        self.seed: int = convert(seed, NonNegativeInt, "seed")
        if not isinstance(tokenizer, PreTrainedTokenizerBase | None):
            raise ManticoreError(f"tokenizer= is a Hugging Face tokenizer, not {shown(tokenizer)}")
        self.tokenizer = tokenizer
        self.eval_batch_size: int = convert(eval_batch_size, PositiveInt, "eval_batch_size")

    def __repr__(self) -> str:
        return f"SearchData({self.task.name}, batch_size={self.batch_size}, seed={self.seed})"

    __str__ = __repr__  # that of Lightning reads the data loaders, which need a Trainer

    def setup(self, stage: str) -> None:
        """Read the splits. Raises ManticoreError if the text of a language task has no tokenizer; see `check_head`."""
        module = self._module
        check_head(module.net, self.task)
        if self.tokenizer is None and isinstance(module.net, Supernet):
            self.tokenizer = module.net.components[module.net.base].tokenizer
        if self.task.is_language_modeling:
            if self.tokenizer is None:
                raise ManticoreError("SearchData of a language task needs the model's tokenizer: tokenizer=...")
            self.task = self.task.with_tokenizer(self.tokenizer)
        self.task.splits()

    @property
    def _module(self) -> TrainModule:
        """The module that the Trainer fits or evaluates."""
        module = None if self.trainer is None else self.trainer.lightning_module
        if not isinstance(module, TrainModule):
            raise ManticoreError(
                "SearchData makes batches for mc.SearchModule and mc.FinetuneModule; another module reads "
                "`task.splits()` with `task.collate`"
            )
        return module

    def train_dataloader(self) -> StepDataLoader:
        """One batch of every stream of the module at each step."""
        module = self._module
        steps = module.given_steps or max(0, module.trainer.max_steps)
        if not steps:
            raise ManticoreError("how many steps? Pass steps=... to the module, or max_steps=... to the Trainer")
        return StepDataLoader(
            {
                name: self._stream(splits, index, module.batch_size)
                for index, (name, splits) in enumerate(module.streams.items())
            },
            steps,
            pin=module.trainer.strategy.root_device.type == "cuda",
        )

    def _stream(self, splits: tuple[str, ...], index: int, batch_size: int) -> BatchSampler:
        examples = concat([getattr(self.task.splits(), split) for split in splits])
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        return BatchSampler(examples, self.batch_size or batch_size, seed, self.task.collate)

    def val_dataloader(self) -> EvaluationLoader:
        """The split `val`, in its order."""
        return EvaluationLoader(self.task.splits().val, self.eval_batch_size, self.task.collate)

    def test_dataloader(self) -> EvaluationLoader:
        """The split `test`, in its order. Read it once, at the end."""
        return EvaluationLoader(self.task.splits().test, self.eval_batch_size, self.task.collate)


def check_head(net: Any, task: Task) -> None:
    """Check that a supernet or a hybrid has the head of a task and a vocabulary that is large enough.

    Other models are not checked. Raises ManticoreError.
    """
    if isinstance(net, Supernet):
        head = net.head_spec
    elif isinstance(getattr(net, "config", None), HybridConfig):
        kind = net.config.head or getattr(type(net), "default_head", "lm")
        head = HeadSpec("lm") if kind == "lm" else HeadSpec(kind, net.config.vocab_size, net.config.num_labels)
    else:
        return
    needed = HeadSpec("lm") if task.is_language_modeling else task.head_spec
    sizes = ((head.vocab_size, needed.vocab_size), (head.labels, needed.labels))
    if head.kind != needed.kind or any((has or 0) < (least or 0) for has, least in sizes):
        raise ManticoreError(f"the model {_described(head)}; {task.name} needs one that {_described(needed)}")


def _described(head: HeadSpec) -> str:
    """The inputs and outputs of a model with a head, for a message."""
    if head.kind == "lm":
        return "is a language model"
    return f"reads {head.vocab_size} token ids and predicts {head.labels} labels with the head '{head.kind}'"


def read_task(task: Any) -> Task:
    """The task of a name, of options, or of data in memory. Raises ManticoreError for anything that is none."""
    if task is None:
        raise ManticoreError("SearchData needs a task: a name, a mapping of options, or data as mc.task takes it")
    source = TaskSource.of(task)
    with source.saved(None, make_console(quiet=True)) as keys:
        loaded = load_task(from_mapping(TaskOptions, keys, "option of a task"))
        if source.data is not None:  # the files are temporary
            _ = loaded.documents() if loaded.is_language_modeling else loaded.splits()
    return loaded


class EvaluationLoader:
    """Batches of examples in their order; draws no random numbers, so that training is the same with and without.

    Args:
        examples: all are read once.
        batch_size: examples in a batch; the last may have fewer.
        collate: function from a list of examples to a batch.
    """

    def __init__(self, examples: Examples, batch_size: int, collate: Collate) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.collate = collate

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.examples), self.batch_size):
            stop = min(start + self.batch_size, len(self.examples))
            yield self.collate([self.examples[index] for index in range(start, stop)])
