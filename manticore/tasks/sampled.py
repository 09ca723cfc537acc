"""A task from a function that draws one example: the short way to bring your own. Knows no particular task.

    @tasks.register("parity")
    def parity(options: TaskOptions) -> Task:
        def draw(rng: random.Random) -> tuple[list[str], int]:
            bits = rng.choices("01", k=rng.randint(4, 16))
            return bits, bits.count("1") % 2

        return SampledTask("parity", Vocabulary.of("01"), ("even", "odd"), 17, draw, options)

A task that reads its examples from somewhere derives from `Task` and returns its `Splits` from `build`.
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
    """Distinct random examples, the same for the same seed.

    Args:
        name: what results are filed under.
        vocabulary: tokens and special ids.
        label_names: names of the classes.
        max_length: most tokens of a sequence, the EOS that is put at its end included.
        draw: makes one example, tokens without EOS and class index, from a random stream and nothing else.
        options: sizes and seed are taken from here.
        sizes: numbers of examples where the options name none.
        cues: see `Task`.
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
        cues: Mapping[str, Feature] | None = None,
    ) -> None:
        wanted = {part: getattr(options, part) or sizes[part] for part in SIZES}
        super().__init__(name, vocabulary, label_names, max_length, cues, sizes=wanted)
        self._draw = draw
        self._seed = options.seed

    def build(self) -> Splits:
        rng = random.Random(f"{self.name}/{self._seed}")
        held: set[tuple[int, ...]] = set()
        test, choice, train = (self._distinct(self.sizes[part], rng, held) for part in ("test", "val", "train"))
        weights, alphas = halves(train, self._seed)
        return Splits(train=weights, train_arch=alphas, val=choice, test=test)

    def origin(self) -> str:
        return f"drawn with seed {self._seed}"

    def _distinct(self, wanted: int, rng: random.Random, held: set[tuple[int, ...]]) -> Examples:
        """`wanted` examples whose inputs are not in `held`, which grows by them."""
        kept = []
        for _ in range(DRAWS_PER_EXAMPLE * wanted + 1_000):
            ids, label = self._one(rng)
            if ids not in held:
                held.add(ids)
                kept.append((ids, label))
            if len(kept) == wanted:
                return Examples.pack(kept)
        raise ManticoreError(f"task '{self.name}' has too few distinct examples: found {len(held)}; ask for fewer")

    def _one(self, rng: random.Random) -> tuple[tuple[int, ...], int]:
        tokens, label = self._draw(rng)
        ids = (*self.vocabulary.encode(tokens), self.vocabulary.eos)
        if len(ids) > self.max_length:
            raise ManticoreError(f"task '{self.name}' drew {len(ids)} tokens; its max_length is {self.max_length}")
        if label not in range(self.num_labels):
            raise ManticoreError(f"task '{self.name}' drew label {label}; it has {self.num_labels} classes")
        return ids, label
