"""Projectors before the first step of a search: fitted in closed form on the task's text, or read from a projector set.

They are fitted once for each base; all supernets of a run with that base start from the same projectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from manticore.alignment import Calibration, StageFit, build_calibration, fit_projectors
from manticore.alignment.closed_forms import CLOSED_FORM_KINDS
from manticore.alignment.projector_set import ProjectorSet, projector_state
from manticore.config.recipe import Recipe
from manticore.errors import BadFile, ManticoreError
from manticore.nas.strategies import strategies
from manticore.nas.strategies.zero_shot import check_base_everywhere, check_no_ops
from manticore.nas.supernet import Supernet
from manticore.tasks.catalog import task_info
from manticore.utils import assets
from manticore.utils.console import info

if TYPE_CHECKING:
    from manticore.experiment.experiment import Experiment


@dataclass(frozen=True)
class ProjectorFit:
    """Projectors of one base.

    Attributes:
        weights: tensors of P, Q and bypasses, by their names in a supernet.
        tokens: base tokens that they were fitted on.
        stages: quality of the fit of each donor at each stage; empty for a projector set.
        paired: share of tokens of each donor that were paired with base tokens.
    """

    weights: dict[str, Tensor]
    tokens: int = 0
    stages: list[StageFit] = field(default_factory=list)
    paired: dict[str, float] = field(default_factory=dict)


def check_projectors(exp: Experiment) -> None:
    """Check that the projectors of the recipe can be fitted or read, before anything is trained.

    Raises ManticoreError if a component cannot read the text, the projector set does not fit, or the strategy needs
    aligned language models and they cannot be aligned.
    """
    language = exp.task.is_language_modeling
    if exp.recipe.align.projectors is not None and not exp.space.supports("alignment"):
        raise ManticoreError(
            f"the {exp.space.topology} topology has no base; align.projectors goes with topology=residual"
        )
    base = exp.space.base if exp.recipe.align.projectors is None else base_of_projector_set(exp)
    if language:
        for name in exp.space.names:
            exp.for_component(name).task.splits()
    if language and uses_closed_form(exp.recipe):
        for name in [base] if base else exp.space.names:
            _calibration(exp, name)
    aligned = language and (exp.recipe.align.projectors is not None or uses_closed_form(exp.recipe))
    if strategies[exp.recipe.search.strategy].needs_alignment and not aligned:
        raise ManticoreError(
            f"{exp.recipe.search.strategy} compares aligned language models: it needs a language task, the residual "
            "topology, projectors with a closed form (linear, low-rank) and align.tokens above 0"
        )
    if strategies[exp.recipe.search.strategy].needs_alignment:
        check_no_ops(exp.space)
        check_base_everywhere(exp.space, base, "search with --strategy darts")
    if aligned and base is None and exp.recipe.selection.base_criterion == "min_kl":
        check_base_everywhere(exp.space, None, "name the base (--base), or set selection.base_criterion=best_alone")


def uses_closed_form(recipe: Recipe) -> bool:
    """Whether a run on a language task fits projectors: it has donors and no set, and the kind has a closed form."""
    options, space = recipe.align, recipe.space
    return (
        options.tokens > 0
        and len(space.components) > 1
        and options.projectors is None
        and space.supports("alignment")
        and space.projector in CLOSED_FORM_KINDS
    )


def alignment_sequences(recipe: Recipe) -> float:
    """Number of sequences that the closed form reads; models that are not aligned are trained on as many more."""
    task = task_info(recipe.task)
    return recipe.align.tokens / task.max_length if task.kind == "lm" and uses_closed_form(recipe) else 0.0


def base_of_projector_set(exp: Experiment) -> str:
    """The base of the recipe's projector set. Raises ManticoreError if the set does not fit the run."""
    projectors = _projector_set(exp)
    base = exp.space.base or projectors.base
    if exp.task.is_language_modeling:
        if base not in exp.space.names:
            file = (projectors.folder or exp.run_dir.root) / "config.json"
            raise BadFile(file, f"made for {base} as base, which is not among the components")
        projectors.check(exp.components, exp.space, base)
    return base


def build_aligned_supernet(exp: Experiment, base: str, relaxation: str, purpose: str) -> Supernet:
    """A new supernet, aligned if the components are language models and the topology has a base."""
    net = exp.supernet(base, relaxation, purpose)
    fit = projector_fit(exp, net)
    if fit is not None:
        net.load_state_dict(fit.weights, strict=False)
    return net


def projector_fit(exp: Experiment, net: Supernet) -> ProjectorFit | None:
    """The projectors of a supernet's base, fitted or read once for each run. None: they start near the identity."""
    options = exp.recipe.align
    if not exp.task.is_language_modeling or not exp.space.supports("alignment"):
        return None
    if net.base not in exp.cache.projector_fits:
        if options.projectors is not None:
            projectors = _projector_set(exp)
            projectors.apply_to(net)
            exp.cache.projector_fits[net.base] = ProjectorFit(projector_state(net), projectors.tokens)
        elif uses_closed_form(exp.recipe):
            exp.cache.projector_fits[net.base] = _fit(exp, net)
    return exp.cache.projector_fits.get(net.base)


def calibration_tokens(exp: Experiment, base: str) -> int:
    """Tokens of the task that the closed form has read for a base."""
    fit = exp.cache.projector_fits.get(base)
    return fit.tokens if fit is not None and fit.stages else 0


def _projector_set(exp: Experiment) -> ProjectorSet:
    """The recipe's projector set, read once for each run."""
    if exp.cache.projector_set is None:
        assert exp.recipe.align.projectors is not None
        exp.cache.projector_set = ProjectorSet.load(assets.find("projectors", exp.recipe.align.projectors))
    return exp.cache.projector_set


def _calibration(exp: Experiment, base: str) -> Calibration:
    """The text that projectors of a base are fitted on, tokenized and paired once for each run."""
    if base not in exp.cache.calibrations:
        texts = exp.task.documents()["train"]
        exp.cache.calibrations[base] = build_calibration(
            exp.components, base, texts, exp.recipe.align.tokens, exp.task.max_length
        )
    return exp.cache.calibrations[base]


def _fit(exp: Experiment, net: Supernet) -> ProjectorFit:
    if not projector_state(net):  # the base alone, or twins of it
        return ProjectorFit({})
    text = _calibration(exp, net.base)
    batches = text.to(exp.hardware.device)
    stages = fit_projectors(net.to(exp.hardware.device), batches.train, batches.val)
    net.to("cpu")
    output = "Q with the bypass" if "bypass" in net.projector else "Q"
    info(exp.console, f"aligned on {text.summary}: {_fit_summary(stages, output)}")
    weights = {key: value.clone() for key, value in projector_state(net).items()}
    return ProjectorFit(weights, text.tokens, stages, text.paired)


def _fit_summary(stages: list[StageFit], output: str) -> str:
    """Explained variance of P and Q, and the length of donor updates relative to updates of the base."""
    ratios = [fit.update / fit.base_update for fit in stages if fit.base_update]
    if not stages:
        return "no stage has a donor as a candidate"
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "an unknown number of"
    return (
        f"P explains {_range([fit.r2_in for fit in stages])} of the variance of donor streams, {output} "
        f"{_range([fit.r2_out for fit in stages])} of that of the base's updates; donor updates are "
        f"{spread} times as long as the base's"
    )


def _range(shares: Sequence[float | None]) -> str:
    """Smallest to largest share in percent; None is left out."""
    known = [share for share in shares if share is not None]
    return f"{min(known):.0%} to {max(known):.0%}" if known else "nothing"
