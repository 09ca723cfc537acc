"""A task from a function that draws one example: the shortest way to define a task.

    @tasks.register("parity")
    def parity(options: TaskOptions) -> Task:
        def draw(rng: random.Random) -> tuple[list[str], int]:
            bits = rng.choices("01", k=rng.randint(4, 16))
            return bits, bits.count("1") % 2

        return SampledTask("parity", Vocabulary.of("01"), ("even", "odd"), 17, draw, options)

A task that reads its examples from files derives from `Task` and returns its `Splits` from `build`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Examples, Splits, halves
from manticore.tasks.heuristics import Feature
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary

Draw = Callable[[random.Random], tuple[list[str], int]]

SIZES = {"train": 10_000, "val": 1_000, "test": 1_000}
DRAWS_PER_EXAMPLE = 50


class SampledTask(Task):
    """A classification task of distinct random examples, which depend on the seed.

    Args:
        name: name of the task in results.
        vocabulary: tokens and special ids.
        label_names: names of the classes.
        max_length: largest number of tokens of a sequence, with the EOS that is appended to it.
        draw: returns one example, its tokens without EOS and its class index, drawn from a random generator alone.
        options: sizes and seed.
        sizes: numbers of examples where `options` has none.
        features: see `Task`.
    """

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        label_names: Iterable[str],
        max_length: int,
        draw: Draw,
        options: TaskOptions,
        sizes: Mapping[str, int] = SIZES,
        features: Mapping[str, Feature] | None = None,
    ) -> None:
        sizes = {split: getattr(options, split) or sizes[split] for split in SIZES}
        super().__init__(name, vocabulary, label_names, max_length, features, sizes=sizes)
        self._draw = draw
        self._seed = options.seed

    def build(self) -> Splits:
        rng = random.Random(f"{self.name}/{self._seed}")
        seen: set[tuple[int, ...]] = set()
        test, val, train = (self._draw_distinct(self.sizes[split], rng, seen) for split in ("test", "val", "train"))
        train, train_arch = halves(train, self._seed)
        return Splits(train=train, train_arch=train_arch, val=val, test=test)

    def origin(self) -> str:
        return f"drawn with seed {self._seed}"

    def _draw_distinct(self, count: int, rng: random.Random, seen: set[tuple[int, ...]]) -> Examples:
        """`count` examples whose inputs are not in `seen`; they are added to it."""
        examples = []
        for _ in range(DRAWS_PER_EXAMPLE * count + 1_000):
            ids, label = self._draw_example(rng)
            if ids not in seen:
                seen.add(ids)
                examples.append((ids, label))
            if len(examples) == count:
                return Examples.pack(examples)
        raise ManticoreError(f"task '{self.name}' has too few distinct examples: found {len(seen)}; ask for fewer")

    def _draw_example(self, rng: random.Random) -> tuple[tuple[int, ...], int]:
        tokens, label = self._draw(rng)
        ids = (*self.vocabulary.encode(tokens), self.vocabulary.eos)
        if len(ids) > self.max_length:
            raise ManticoreError(f"task '{self.name}' drew {len(ids)} tokens; its max_length is {self.max_length}")
        if label not in range(self.num_labels):
            raise ManticoreError(f"task '{self.name}' drew label {label}; it has {self.num_labels} classes")
        return ids, label
