"""The interface of strategies that train paths by themselves, and what a search provides to them.

Weights that paths share mislead a search in two ways: early loss is not late loss, and candidates that are trained
together learn to need each other. These strategies decide on what a path reaches after training of its own. All paths
start from the same weights and see the same batches in the same order, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from manticore.nas.choices import Choices
from manticore.nas.selection.scores import PathNames, PathScores
from manticore.nas.strategies.base import Strategy


class PathTrainer(Protocol):
    """Trains paths by themselves, with the optimizer, the batches and the schedule of the fine-tuning."""

    def loss(self, path: Sequence[str], steps: int) -> float:
        """The validation loss of a path in nats after `steps` training steps in all; earlier steps are kept."""
        ...


class PathStrategy(Strategy):
    """A strategy that trains paths by themselves, and no supernet.

    Attributes:
        keeps_training: whether the fine-tuning of the selected path goes on from its training in the search.
    """

    streams: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train", "train_arch")}
    keeps_training: ClassVar[bool] = False

    def discarded_steps(self, choices: Choices, paths: Sequence[PathNames], steps: int) -> int:
        """Steps of a search of at most `steps` that the selected path does not keep. Known before the search.

        Raises ManticoreError if `steps` are too few.
        """
        raise NotImplementedError

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], steps: int, trainer: PathTrainer
    ) -> PathScores:
        """Scores of paths, larger being better. The selected path is the best one within the budget.

        Args:
            choices: of the search space.
            base: the base model.
            paths: those that may be selected: all within the budget, or a sample of them.
            steps: largest number of training steps, of all paths together.
            trainer: trains the paths.
        """
        raise NotImplementedError
