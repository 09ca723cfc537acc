"""P, Q and bypasses in closed form before a search: on the task's own text, or from a projector set. Knows no search.

A run fits them once for a home; every supernet of the run that has that home starts from the same ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from manticore import library
from manticore.alignment import StageFit, align
from manticore.errors import BadFile, ManticoreError
from manticore.projector_sets import load_into, read, state
from manticore.recipe import ZERO_SHOT, Recipe
from manticore.runs.calibration import calibration
from manticore.runs.workshop import Workshop
from manticore.supernet import Supernet
from manticore.tasks.catalog import sheet_of
from manticore.tasks.language import LanguageTask

FITTED = ("linear", "low-rank")
"""Kinds of projector that have a closed form."""


@dataclass(frozen=True)
class Fit:
    """What was fitted for a home: the projectors' weights, the tokens that took, how well it went, what paired up."""

    weights: dict[str, Tensor]
    tokens: int
    fits: list[StageFit]
    paired: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for metrics.json."""
        return {"tokens": self.tokens, "paired": self.paired, "stages": [asdict(fit) for fit in self.fits]}


def ready(shop: Workshop, home: str, relaxation: str, purpose: str) -> Supernet:
    """A supernet whose projectors are fitted, where the components are language models that read the task's text.

    Raises ManticoreError if the projector set the recipe names is another's.
    """
    made = shop.supernet(home, relaxation, purpose)
    fit = fitted(shop, made)
    if fit is not None:
        made.load_state_dict(fit.weights, strict=False)
    return made


def fitted(shop: Workshop, supernet: Supernet) -> Fit | None:
    """The projectors of a supernet's home, found once for each run; None if they are to start near the identity."""
    options = shop.recipe.align
    if not isinstance(shop.task, LanguageTask) or supernet.hub:
        return None
    if supernet.home not in shop.fits:
        if options.projectors is not None:
            facts = load_into(supernet, library.find("projectors", options.projectors))
            shop.fits[supernet.home] = Fit(state(supernet), int(facts.get("tokens", 0)), [], {})
        elif fits_own(shop.recipe):
            shop.fits[supernet.home] = _fit(shop, supernet, options.tokens)
    held = shop.fits.get(supernet.home)
    assert held is None or isinstance(held, Fit)
    return held


def seen_before(shop: Workshop, home: str) -> int:
    """Tokens that were read before the first step of a search."""
    held = shop.fits.get(home)
    return held.tokens if isinstance(held, Fit) and held.fits else 0


def _fit(shop: Workshop, supernet: Supernet, tokens: int) -> Fit:
    assert isinstance(shop.task, LanguageTask)
    texts = shop.task.documents()["weights"]
    text = calibration(shop.components, supernet.home, texts, tokens, shop.task.max_length)
    device = shop.machine.device
    seen, held = ([reading.to(device) for reading in part] for part in (text.seen, text.held))
    fits = align(supernet.to(device), lambda: seen, lambda: held)
    supernet.to("cpu")
    told = _words(fits, "Q with the bypass" if "bypass" in supernet.projector else "Q")
    shop.console.print(f"aligned on {text.words}: {told}", highlight=False, soft_wrap=True)
    weights = {key: value.clone() for key, value in state(supernet).items()}
    return Fit(weights, text.tokens, fits, text.shares)


def _words(fits: list[StageFit], back: str) -> str:
    """How much is recovered, and how long updates are beside home's."""
    inward, outward = ([getattr(fit, name) for fit in fits] for name in ("inward", "outward"))
    lengths = [fit.update / fit.home_update for fit in fits if fit.home_update]
    return (
        f"P recovers {min(inward):.0%} to {max(inward):.0%} of the foreign streams' variance, "
        f"{back} {min(outward):.0%} to {max(outward):.0%} of home's updates'; foreign updates are "
        f"{min(lengths):.2f} to {max(lengths):.2f} times as long as home's"
    )


def aligned_sequences(recipe: Recipe) -> float:
    """Sequences of the task that closed-form alignment reads, which everybody else gets for training."""
    sheet = sheet_of(recipe.task)
    return recipe.align.tokens / sheet.max_length if sheet.kind == "lm" and fits_own(recipe) else 0.0


def home_of_set(shop: Workshop) -> str:
    """The home that the recipe's projector set was fitted to.

    Raises ManticoreError if that is not the home that is asked for, or the set is another's altogether.
    """
    assert shop.recipe.align.projectors is not None
    folder = library.find("projectors", shop.recipe.align.projectors)
    facts, _ = read(folder)
    home = shop.space.home or facts["home"]
    if isinstance(shop.task, LanguageTask) and shop.space.topology != "hub":
        if home not in shop.space.names:
            raise BadFile(folder / "config.json", f"made for {home} as home, which is not among the components")
        load_into(shop.read_as(home).supernet(home, shop.recipe.search.relaxation, "check"), folder)
    return str(home)


def fits_own(recipe: Recipe) -> bool:
    """Whether projectors between language models are fitted here: wanted, not taken from a set, with a closed form."""
    options, space = recipe.align, recipe.search_space()
    return options.tokens > 0 and options.projectors is None and space.topology != "hub" and space.projector in FITTED


def check_projectors(shop: Workshop) -> None:
    """Raises ManticoreError if the recipe asks for projectors, or for a ranking by them, that there cannot be.

    So it does where a component cannot read the task's text, or projectors cannot be fitted on it.
    """
    options, topology = shop.recipe.align, shop.space.topology
    home = shop.space.home if options.projectors is None else home_of_set(shop)
    if isinstance(shop.task, LanguageTask):
        for name in shop.space.names:
            shop.read_as(name).task.splits()
    if isinstance(shop.task, LanguageTask) and fits_own(shop.recipe):
        texts = shop.task.documents()["weights"]
        for name in [home] if home else shop.space.names:
            calibration(shop.components, name, texts, options.tokens, shop.task.max_length)
    if topology == "hub" and options.projectors is not None:
        raise ManticoreError("the hub topology has no home; align.projectors goes with topology=residual")
    given = options.projectors is not None or fits_own(shop.recipe)
    able = isinstance(shop.task, LanguageTask) and topology != "hub" and given
    if shop.recipe.search.strategy == ZERO_SHOT and not able:
        raise ManticoreError(
            "zero-shot ranks aligned language models: it needs a language task, the residual topology, projectors with "
            "a closed form (linear, low-rank) and align.tokens above 0"
        )
