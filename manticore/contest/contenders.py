"""Who takes part in a contest: each way of making a model and training it on a budget. Knows nothing of contests.

All of them learn from the weights and alphas splits together, in so many steps as their terms say; a hybrid has its
steps from the recipe's search and fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from manticore.baselines import BaselineModel, TaskHead, build
from manticore.cost import parameters
from manticore.discretization import discretize
from manticore.registry import Registry
from manticore.runs.aligning import aligned_sequences, ready, seen_before
from manticore.runs.choosing import largest_component, select
from manticore.runs.phases import finetune, lessons, train_supernet
from manticore.runs.wording import label_fields
from manticore.runs.workshop import Trained, Workshop
from manticore.supernet import Supernet
from manticore.training.modules import TrainModule

Terms = dict[str, Any]
"""What tells contenders of one kind apart: `home`, `path`, `name`, `steps`, as the kind needs them. Plain data."""

SCRATCH = "from scratch"
"""What seeds the supernets that no search has seen."""


@dataclass
class Entry:
    """A contender after its training.

    Attributes:
        phases: what was trained; the last one is what is scored.
        path: of a hybrid, the path that was found.
        weights: of a hybrid, the mixing weights (S, K) when the search ended.
        before: models on the way to a hybrid, by name.
    """

    phases: list[Trained]
    path: list[str] | None = None
    weights: list[list[float]] | None = None
    before: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def net(self) -> nn.Module:
        """What is scored."""
        return self.phases[-1].net


contenders: Registry[Callable[[Workshop, Terms], Entry]] = Registry("contender")


@contenders.register("path")
def path(shop: Workshop, terms: Terms) -> Entry:
    """The hybrid on one path, from scratch; a component alone, if the path stays home."""

    stays = set(terms["path"]) == {terms["home"]}

    def make() -> nn.Module:
        build = shop.supernet if stays else partial(ready, shop)
        made: nn.Module = discretize(build(terms["home"], "softmax", SCRATCH), terms["path"], **label_fields(shop.task))
        return made

    return _trained(shop, terms, make, aligned=not stays)


@contenders.register("uniform")
def uniform(shop: Workshop, terms: Terms) -> Entry:
    """All candidates at all stages, with equal weights that stay so."""
    return _trained(shop, terms, lambda: ready(shop, terms["home"], "fixed", SCRATCH), aligned=True)


@contenders.register("designed")
def designed(shop: Workshop, terms: Terms) -> Entry:
    """A hybrid designed by hand, as wide as the widest component and about as large as the largest."""
    readout = shop.readout
    width, heads, state = _sizes(shop)

    def make(layers: int) -> nn.Module:
        head = TaskHead(readout.kind, width, readout.labels)
        return BaselineModel(build(terms["name"], width, layers, heads, state), readout.vocab_size or 0, head)

    def seeded() -> nn.Module:
        layers = nearest_depth(lambda layers: parameters(make(layers)), largest_component(shop))
        shop.reseed("designed", terms["name"])
        return make(layers)

    return _trained(shop, terms, seeded)


@contenders.register("hub")
def hub(shop: Workshop, terms: Terms) -> Entry:
    """The paper's own way: its wiring, weights and alphas moved together, the mixture used as it is."""
    return Entry([train_supernet(shop, shop.space.names[0])])


@contenders.register("soft")
def soft(shop: Workshop, terms: Terms) -> Entry:
    """The hybrid that is never made discrete: the mixture that the search ends with, fine-tuned as it is."""
    found, options = train_supernet(shop, terms["home"]), shop.recipe.finetune
    supernet = found.net
    assert isinstance(supernet, Supernet)

    def module() -> TrainModule:
        mixed = supernet
        if options.start == "fresh":
            mixed = ready(shop, supernet.home, shop.recipe.search.relaxation, "search")
            mixed.load_state_dict({"alpha": supernet.alpha}, strict=False)
        return TrainModule(mixed, options.weights, options.steps)

    tuned = shop.train("fine-tune", module, partial(lessons, shop))
    return Entry([found, tuned])


@contenders.register("hybrid")
def hybrid(shop: Workshop, terms: Terms) -> Entry:
    """Search, select, discretize, fine-tune."""
    found = train_supernet(shop, terms["home"])
    supernet = found.net
    assert isinstance(supernet, Supernet)
    chosen = select(shop, supernet)
    raw = discretize(supernet, chosen, **label_fields(shop.task))
    tuned = finetune(shop, supernet, chosen, "fine-tune")
    before = {"soft": supernet, "discrete": raw}
    return Entry([found, tuned], chosen, supernet.weights().tolist(), before)


def _trained(shop: Workshop, terms: Terms, make: Callable[[], nn.Module], aligned: bool = False) -> Entry:
    """A single phase; sequences that projectors were fitted on are taken off its steps, and their tokens are told."""
    options, steps = shop.recipe.finetune, terms["steps"]
    if aligned:
        steps = max(1, steps - round(aligned_sequences(shop.recipe) / options.batch_size))

    def module() -> TrainModule:
        made = TrainModule(make(), options.weights, steps)
        made.tokens = seen_before(shop, terms["home"]) if aligned else 0
        return made

    return Entry([shop.train("train", module, partial(lessons, shop))])


def _sizes(shop: Workshop) -> tuple[int, int, int]:
    """Width, heads and state of a designed hybrid: those of the components."""
    configs: dict[bool, Any] = {held.anatomy.recurrent: held.config for held in shop.components}
    width = max(held.width for held in shop.components)
    heads = getattr(configs.get(False), "num_attention_heads", None) or max(1, width // 64)
    return width, int(heads), int(getattr(configs.get(True), "state_size", None) or 16)


def nearest_depth(size: Callable[[int], int], wanted: float) -> int:
    """The number of layers, at least 2, whose `size` is nearest to `wanted`. Sizes grow with the layers."""
    layers = 2
    while size(layers + 1) <= wanted:
        layers += 1
    return min((layers, layers + 1), key=lambda held: abs(size(held) - wanted))
