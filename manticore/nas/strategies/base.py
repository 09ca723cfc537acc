"""The interface of strategies, and the steps that a search provides to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from manticore.errors import ManticoreError, shown
from manticore.nas.options import AlphaOptions
from manticore.nas.regularizers import Regularizer
from manticore.nas.stage_scores import StageScores
from manticore.tasks.dataset import Batch
from manticore.utils.fields import from_mapping
from manticore.utils.registry import Registry

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable
    from manticore.nas.supernet import Supernet


Losses: TypeAlias = "Mapping[str, Tensor | float]"
"""Losses of a step in nats, by name: scalar tensors, or numbers."""


class Search(Protocol):
    """The steps that a search provides. A step takes a batch, updates parameters, and returns the loss in nats.

    The loss is a scalar on the device of the network. A strategy that only passes it on does not wait for a GPU;
    `float(loss)` does.

    A strategy for which these do not suffice (second order, for example) combines `gradients` with `update_alphas`.

    With several processes each has some of the examples of a batch. The losses and gradients that these methods return
    are those of the whole batch and equal in all processes, except those of `loss`. Random draws that all processes
    must have in common come from `net.sample` or from `manticore.utils.rng.random_source`.
    """

    @property
    def net(self) -> Searchable:
        """The network that is searched: a supernet, or a model that holds MixedOps."""
        ...

    @property
    def warming_up(self) -> bool:
        """Whether the alphas are still frozen."""
        ...

    @property
    def memory(self) -> dict[str, list[float]]:
        """Numbers that the strategy keeps between steps; part of every training state, so that a search can resume."""
        ...

    def path_cost(self, path: Sequence[str]) -> float:
        """Operations per token of a forward pass of one path."""
        ...

    def weight_step(self, batch: Batch, paths: Sequence[Sequence[str] | None] | None = None) -> Tensor:
        """Update the weights; the alphas get no gradient.

        `paths`: the paths that are trained, by the mean of their gradients; None among them stands for the mixture.
        Default: the mixture, or one sampled path with `search.sample_paths`.
        """
        ...

    def num_examples(self, batch: Batch) -> int:
        """Number of examples of the whole batch."""
        ...

    def example_step(self, batch: Batch, paths_BS: Tensor) -> Tensor:
        """Update the weights; each example of the batch goes through its own path.

        `paths_BS` has the indices of the candidates of each example's path, for all `num_examples` of the batch.
        """
        ...

    def alpha_step(self, batch: Batch) -> Tensor:
        """Update the alphas by the loss and the regularizer; the weights get no gradient."""
        ...

    def joint_step(self, batch: Batch) -> Tensor:
        """Update both by the same gradient."""
        ...

    def policy_step(
        self, batch: Batch, paths: Sequence[Sequence[str]], advantages: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Update the alphas by a score-function gradient: mean over paths of `advantage * grad log p(path)`.

        Args:
            batch: the data on which every path is scored.
            paths: sampled paths, N of them.
            advantages: function from the losses of the paths in nats (N,) to advantages (N,); higher is worse.
        """
        ...

    def loss(self, batch: Batch, **options: object) -> Tensor:
        """Mean loss of the network in nats, differentiable. `options` go to its forward pass: path, weights.

        With several processes it is the mean over the examples of this process.
        """
        ...

    def losses(self, batch: Batch, options: Sequence[dict[str, object]]) -> Tensor:
        """The mean losses of the batch with each of several options of the forward pass, (N,), without gradients."""
        ...

    def gradients(
        self,
        batch: Batch,
        parameters: Sequence[nn.Parameter],
        penalty: Callable[[], Tensor] | None = None,
        **options: object,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The mean loss of the batch, and its gradient, plus that of `penalty`, in each of the parameters.

        None stands for a parameter that the loss does not depend on. No `grad` is changed.
        """
        ...

    def penalty(self) -> Tensor:
        """The regularizer of the mixing weights at this step, in nats, differentiable."""
        ...

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters that weight steps update."""
        ...

    @property
    def weight_lr(self) -> float:
        """The learning rate of the next weight step."""
        ...

    def update_alphas(self, batch: Batch, passes: int = 2) -> None:
        """One step of the alphas' optimizer by the gradients in `grad` of each of `net.alphas`.

        `passes` forward passes over the batch are added to the operations that the search counts.
        """
        ...

    def update_weights(self, batch: Batch, passes: int = 3) -> None:
        """One step of the weights' optimizer by the gradients in `grad` of each of `weights`; see `update_alphas`."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes of values that each computes from its examples, without gradients."""
        ...

    def count_passes(self, batch: Batch, passes: int, tokens: bool = False) -> None:
        """Add `passes` forward passes over a batch to the operations that the search counts.

        `tokens`: whether the tokens of the batch are counted too, because it is read for the first time.
        """
        ...


class Strategy:
    """How a search updates weights and alphas. It has no state of its own: a resumed search creates a new one (law 7).

    A strategy that is a frozen dataclass, `Checked`, has its fields as options (`search.strategy_options`).

    Attributes:
        streams: by name of each stream of batches that `step` reads, the task's splits that it is drawn from.
        needs_alignment: the strategy compares components as they are, so it needs aligned language models.
        relaxation: name of the relaxation that the strategy needs; None for the recipe's.
        selector: name of the selector where the recipe names none.
        descends: alphas are trained by gradients of the loss, so that the search may collapse (`nas/collapse.py`).
        searches_sizes: its `alpha_step` or `joint_step` trains the sizes of adapters too (`searched-more`).
        runs_sharded: it needs no whole gradients of weights, and every example of a batch runs the same path, so that
            it runs with `--distributed fsdp`.
    """

    streams: ClassVar[Mapping[str, tuple[str, ...]]]
    needs_alignment: ClassVar[bool] = False
    relaxation: ClassVar[str | None] = None
    selector: ClassVar[str] = "largest-weight"
    descends: ClassVar[bool] = True
    searches_sizes: ClassVar[bool] = False
    runs_sharded: ClassVar[bool] = True

    def check(self, net: Searchable) -> None:
        """Raise ManticoreError if the strategy cannot search `net`, which may be on the meta device."""

    def prepare(self, net: Searchable) -> None:
        """Add the parameters that the strategy needs to a network. A second call has no effect.

        Called for every new network, and before the weights of a searched network are loaded.
        """

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        """Update weights and alphas once. Returns the losses by name; `alpha_loss` marks a step of the alphas."""
        raise NotImplementedError

    def alpha_optimizer(self, alphas: Sequence[nn.Parameter], options: AlphaOptions) -> Optimizer:
        """The optimizer of the alphas; default: Adam without weight decay.

        Args:
            alphas: of a supernet one tensor (S, K), of a model of MixedOps one tensor (K,) for each of them.
            options: section `search.alphas` of a recipe.
        """
        return Adam(alphas, lr=options.lr, betas=(options.beta1, options.beta2), weight_decay=0.0)

    def regularizer(self, default: Regularizer) -> Regularizer:
        """The term added to the loss of the alphas; `default` is the recipe's."""
        return default

    @classmethod
    def sequences(cls, steps: int, warmup_steps: int, batch_size: int) -> int:
        """Number of sequences that a search reads; baselines are trained on the same number in addition."""
        alpha_steps = steps - warmup_steps if len(cls.streams) > 1 else 0
        return (steps + alpha_steps) * batch_size


class TrainingFree(Strategy):
    """A strategy that sets the alphas from a few batches of the supernet and trains nothing.

    Attributes:
        batches: number of batches of the split `train_arch` that `alphas` gets.
    """

    streams: ClassVar[Mapping[str, tuple[str, ...]]] = {"alphas": ("train_arch",)}
    batches: ClassVar[int] = 2

    def alphas(self, supernet: Supernet, batches: Sequence[Batch]) -> Tensor:
        """The alphas (S, K). The supernet and the batches are on the same device."""
        raise NotImplementedError

    def search(self, supernet: Supernet, batches: Sequence[Batch]) -> tuple[Tensor, StageScores | None]:
        """The alphas, and the scores that they come from; if these are None, the report shows the mixing weights."""
        return self.alphas(supernet, batches), None

    @classmethod
    def sequences(cls, steps: int, warmup_steps: int, batch_size: int) -> int:
        return cls.batches * batch_size


strategies: Registry[type[Strategy]] = Registry("strategy")


def build_strategy(strategy: str | type[Strategy], options: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy of a name or of a class. Its options are the fields of the class, if that is a dataclass.

    Raises UnknownName for a name or an option that does not exist, and ManticoreError for an option out of range.
    """
    kind = strategies[strategy] if isinstance(strategy, str) else strategy
    name = _name_of(kind)
    if not is_dataclass(kind):
        if options:
            raise ManticoreError(f"strategy '{name}' has no options; drop search.strategy_options")
        return kind()
    built: Strategy = from_mapping(kind, options or {}, f"option of strategy '{name}'")
    return built


def as_strategy(strategy: str | Strategy | type[Strategy], options: Mapping[str, Any]) -> Strategy:
    """The strategy of a name or of a class, with options. Raises ManticoreError for an object of another type."""
    if isinstance(strategy, str) or (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        return build_strategy(strategy, options)
    if not isinstance(strategy, Strategy):
        raise ManticoreError(f"a strategy is a name, or a Strategy or its class, not {shown(strategy)}")
    if options:
        raise ManticoreError(
            f"strategy '{strategy_name(strategy)}' is an object and has its options; drop strategy_options"
        )
    return strategy


def strategy_name(strategy: Strategy) -> str:
    """The name under which the class of a strategy is registered, or the name of a class that is not registered."""
    return _name_of(type(strategy))


def _name_of(kind: type[Strategy]) -> str:
    return next((name for name in strategies if strategies[name] is kind), kind.__name__)


def check_single_paths(strategy: Strategy, net: Searchable) -> None:
    """Raise ManticoreError if the topology of `net` has no paths that are trained alone, which `strategy` needs."""
    if not net.trains_single_paths:
        raise ManticoreError(
            f"strategy '{strategy_name(strategy)}' needs single paths of the supernet, which this topology does not "
            "train; use darts, or the residual topology"
        )
