"""The interface of strategies that train paths by themselves, and what a search provides to them.

Shared weights mislead a search: candidates that are trained together co-adapt, and those that learn fast get larger
alphas. These strategies train each path by itself and compare the losses that the paths reach. All paths start from the
same weights and see the same batches in the same order, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.paired import Difference
from manticore.nas.selection.scores import PathScores
from manticore.nas.strategies.base import Strategy


class PathTrainer(Protocol):
    """Trains paths by themselves, with the optimizer, the batches and the schedule of the fine-tuning."""

    def loss(self, path: Sequence[str], steps: int) -> float:
        """The validation loss of a path in nats after `steps` training steps in all; earlier steps are kept.

        Infinite if the training diverged.
        """
        ...

    def difference(self, path: PathNames, rival: PathNames, steps: int) -> Difference | None:
        """The difference of the validation losses of two paths after `steps` steps in all, paired over the examples.

        Both paths must have been trained for this number of steps. None if a path diverged.
        """
        ...


class PathPlan(NamedTuple):
    """The number of steps of a search of paths. It is known before the search, because schedules depend on it.

    Attributes:
        discarded: training steps that the selected path does not keep.
        longest: most steps that a path is trained for.
    """

    discarded: int
    longest: int


class PathStrategy(Strategy):
    """A strategy that trains paths by themselves, and no supernet.

    Attributes:
        keeps_training: whether the fine-tuning of the selected path continues its training in the search.
        needs_base_path: whether the path of the base alone must be one of the compared paths.
    """

    streams: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train", "train_arch")}
    keeps_training: ClassVar[bool] = False
    needs_base_path: ClassVar[bool] = False

    def plan(self, choices: Choices, paths: Sequence[PathNames], max_steps: int) -> PathPlan:
        """The plan of a search of at most `max_steps` steps. Raises ManticoreError if these are too few."""
        raise NotImplementedError

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], max_steps: int, trainer: PathTrainer
    ) -> PathScores:
        """Scores of paths, larger being better. The selected path is the best one within the budget.

        Args:
            choices: of the search space.
            base: the base model.
            paths: those that may be selected: all within the budget, or a sample of them.
            max_steps: largest number of training steps, of all paths together.
            trainer: trains the paths.
        """
        raise NotImplementedError
