"""P, Q and bypasses in closed form before a search: on the task's own text, or from a projector set. Knows no search.

A run fits them once for a base; every supernet of the run that has that base starts from the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from manticore.alignment import StageFit, build_calibration, fit_projectors
from manticore.alignment.projector_set import ProjectorSet, projector_state
from manticore.config.recipe import Recipe
from manticore.config.sections import ZERO_SHOT
from manticore.errors import BadFile, ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.nas.supernet import Supernet
from manticore.results.search import AlignmentInfo
from manticore.tasks.catalog import task_info
from manticore.utils import assets
from manticore.utils.console import info

CLOSED_FORM_KINDS = ("linear", "low-rank")
"""Kinds of projector that have a closed form."""


@dataclass(frozen=True)
class ProjectorFit:
    """What was fitted for a base: the projectors' weights, the tokens that took, how well it went, what paired up."""

    weights: dict[str, Tensor]
    tokens: int
    fits: list[StageFit]
    paired: dict[str, float]

    @property
    def info(self) -> AlignmentInfo:
        """What the result of the run says of the fit."""
        return AlignmentInfo(self.tokens, self.paired, tuple(self.fits))


def build_aligned_supernet(exp: Experiment, base: str, relaxation: str, purpose: str) -> Supernet:
    """A supernet whose projectors are fitted, where the components are language models that read the task's text.

    Raises ManticoreError if the projector set the recipe names is another's.
    """
    made = exp.supernet(base, relaxation, purpose)
    fit = get_projector_fit(exp, made)
    if fit is not None:
        made.load_state_dict(fit.weights, strict=False)
    return made


def get_projector_fit(exp: Experiment, supernet: Supernet) -> ProjectorFit | None:
    """The projectors of a supernet's base, found once for each run; None if they are to start near the identity."""
    options = exp.recipe.align
    if not exp.task.is_language_modeling or "alignment" not in supernet.topology.supports:
        return None
    if supernet.base not in exp.fits:
        if options.projectors is not None:
            projectors = ProjectorSet.load(assets.find("projectors", options.projectors))
            projectors.apply_to(supernet)
            exp.fits[supernet.base] = ProjectorFit(projector_state(supernet), projectors.tokens, [], {})
        elif uses_closed_form(exp.recipe):
            exp.fits[supernet.base] = _fit(exp, supernet, options.tokens)
    held = exp.fits.get(supernet.base)
    assert held is None or isinstance(held, ProjectorFit)
    return held


def calibration_tokens(exp: Experiment, base: str) -> int:
    """Tokens that were read before the first step of a search."""
    held = exp.fits.get(base)
    return held.tokens if isinstance(held, ProjectorFit) and held.fits else 0


def _fit(exp: Experiment, supernet: Supernet, tokens: int) -> ProjectorFit:
    texts = exp.task.documents()["train"]
    text = build_calibration(exp.components, supernet.base, texts, tokens, exp.task.max_length)
    text = text.to(exp.machine.device)
    fits = fit_projectors(supernet.to(exp.machine.device), text.train, text.val)
    supernet.to("cpu")
    told = _summary(fits, "Q with the bypass" if "bypass" in supernet.projector else "Q")
    info(exp.console, f"aligned on {text.summary}: {told}")
    weights = {key: value.clone() for key, value in projector_state(supernet).items()}
    return ProjectorFit(weights, text.tokens, fits, text.paired)


def _summary(fits: list[StageFit], back: str) -> str:
    """How much is recovered, and how long updates are beside base's."""
    lengths = [fit.update / fit.base_update for fit in fits if fit.base_update]
    return (
        f"P recovers {_shares([fit.r2_in for fit in fits])} of the donor streams' variance, "
        f"{back} {_shares([fit.r2_out for fit in fits])} of base's updates'; donor updates are "
        f"{min(lengths):.2f} to {max(lengths):.2f} times as long as base's"
    )


def _shares(explained: list[float | None]) -> str:
    """The least and the greatest share of variance that is explained: `81% to 97%`."""
    shares = [share for share in explained if share is not None]
    return f"{min(shares):.0%} to {max(shares):.0%}" if shares else "none"


def aligned_sequences(recipe: Recipe) -> float:
    """Sequences of the task that closed-form alignment reads, which everybody else gets for training."""
    sheet = task_info(recipe.task)
    return recipe.align.tokens / sheet.max_length if sheet.kind == "lm" and uses_closed_form(recipe) else 0.0


def base_of_projector_set(exp: Experiment) -> str:
    """The base that the recipe's projector set was fitted to.

    Raises ManticoreError if that is not the base that is asked for, or the set is another's altogether.
    """
    assert exp.recipe.align.projectors is not None
    folder = assets.find("projectors", exp.recipe.align.projectors)
    projectors = ProjectorSet.load(folder)
    base = exp.space.base or projectors.base
    if exp.task.is_language_modeling and exp.space.supports("alignment"):
        if base not in exp.space.names:
            raise BadFile(folder / "config.json", f"made for {base} as base, which is not among the components")
        projectors.check(exp.components, exp.space, base)
    return base


def uses_closed_form(recipe: Recipe) -> bool:
    """Whether projectors between language models are fitted here: wanted, not taken from a set, with a closed form."""
    options, space = recipe.align, recipe.space
    return (
        options.tokens > 0
        and options.projectors is None
        and space.supports("alignment")
        and space.projector in CLOSED_FORM_KINDS
    )


def check_projectors(exp: Experiment) -> None:
    """Raises ManticoreError if the recipe asks for projectors, or for a ranking by them, that there cannot be.

    So it does where a component cannot read the task's text, or projectors cannot be fitted on it.
    """
    options, aligns = exp.recipe.align, exp.space.supports("alignment")
    base = exp.space.base if options.projectors is None else base_of_projector_set(exp)
    if exp.task.is_language_modeling:
        for name in exp.space.names:
            exp.read_as(name).task.splits()
    if exp.task.is_language_modeling and uses_closed_form(exp.recipe):
        texts = exp.task.documents()["train"]
        for name in [base] if base else exp.space.names:
            build_calibration(exp.components, name, texts, options.tokens, exp.task.max_length)
    if not aligns and options.projectors is not None:
        raise ManticoreError(
            f"the {exp.space.topology} topology has no base; align.projectors goes with topology=residual"
        )
    given = options.projectors is not None or uses_closed_form(exp.recipe)
    able = exp.task.is_language_modeling and aligns and given
    if exp.recipe.search.strategy == ZERO_SHOT and not able:
        raise ManticoreError(
            "zero-shot ranks aligned language models: it needs a language task, the residual topology, projectors with "
            "a closed form (linear, low-rank) and align.tokens above 0"
        )
