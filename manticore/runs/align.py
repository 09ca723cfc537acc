"""`manticore align`: pretrained models and text to a projector set, and what that is worth before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from manticore.alignment import StageFit, align
from manticore.alignment.closed_form import check
from manticore.alignment.reading import Reading
from manticore.alignment.steps import refine
from manticore.components import load
from manticore.errors import ManticoreError
from manticore.projector_checks import check_projector
from manticore.projector_sets import save
from manticore.recipe import RunOptions
from manticore.report.table import bare, markdown
from manticore.runs.calibration import calibration
from manticore.runs.machine import prepare
from manticore.selection.zero_shot import zero_shot
from manticore.space import SearchSpace
from manticore.supernet import Readout, Supernet
from manticore.tasks.documents import KINDS, kind_of, read_documents, text_in

MOST_PATHS = 64
"""Largest space whose paths are all scored before and after."""

BESIDE = " with a bypass"
PASSED = "; the bypass adds a linear map of home's stream, and counts in the R² of Q"

HEAD = ("stage", "component", "R² of P", "stretched", "R² of Q", "its update", "before", "home's update")


@dataclass(frozen=True)
class AlignOptions:
    """What `manticore align` is asked for.

    Attributes:
        models: aliases, hub ids or local folders.
        home: who lends embedding, stream, norm and head; None: the first model.
        stages: number of stages.
        text: files, or folders of files, as the `text` task reads them.
        tokens: home tokens to fit on, about.
        length: home tokens of a passage.
        steps: gradient steps after the closed form.
        projector: linear or low-rank.
        projector_options: such as `rank`, and `bypass`.
        seed: of the paths that gradient steps draw.
    """

    models: Sequence[str]
    text: Sequence[Path]
    home: str | None = None
    stages: int = 4
    tokens: int = 16384
    length: int = 256
    steps: int = 0
    projector: str = "linear"
    projector_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


def run(options: AlignOptions, out: Path, console: Console) -> Path:
    """Align, tell how well, and write the set in `out`, which must not exist.

    Raises ManticoreError, before anything is written, if a model or text cannot be used or `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    space = SearchSpace(
        options.models,
        stages=options.stages,
        home=options.home,
        projector=options.projector,
        projector_options=options.projector_options,
    )
    check_projector(space.projector, space.projector_options)
    texts = [text for place in options.text for text in _texts(place)]
    home = space.home or space.names[0]
    machine = prepare(RunOptions())
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, home, Readout())
    check(supernet)
    text = calibration(components, home, texts, options.tokens, options.length)
    supernet.to(machine.device)
    seen, held = ([reading.to(machine.device) for reading in part] for part in (text.seen, text.held))
    before = mean_mixed_loss(supernet, held)
    fits = align(supernet, lambda: seen, lambda: held)
    closed = mean_mixed_loss(supernet, held)
    losses = {"before": before, "aligned": closed}
    if options.steps:
        torch.manual_seed(options.seed)
        refine(supernet, lambda: seen, options.steps)
        losses[f"after {options.steps} gradient steps"] = mean_mixed_loss(supernet, held)
    tell(fits, losses, text.words, console)
    names = [file.name for file in options.text]
    card = card_of(supernet, fits, losses, text.tokens, names)
    facts = {
        "text": names,
        "steps": options.steps,
        "mean_mixed_loss": losses,
        "paired": text.shares,
        "fits": [asdict(fit) for fit in fits],
    }
    place = save(supernet, out, card, text.tokens, **facts)
    console.print(f"{place}: a projector set of {' and '.join(space.names)}, home {home}", highlight=False)
    return place


def _texts(place: Path) -> list[str]:
    """The documents of a file or folder; a file of another kind is one, in UTF-8."""
    if place.is_dir() or kind_of(place) in KINDS:
        return [text for held in read_documents(place).values() for text in held]
    return [text_in(place)]


def mean_mixed_loss(supernet: Supernet, text: Sequence[Reading]) -> float | None:
    """Mean loss over all paths but home's own, in nats per token; None in a space of more than `MOST_PATHS`."""
    if len(supernet.candidates) ** supernet.space.stages > MOST_PATHS:
        return None
    losses = zero_shot(supernet, text)
    mixed = [loss for path, loss in losses.items() if set(path) != {supernet.home}]
    return sum(mixed) / len(mixed)


def _cells(fit: StageFit) -> tuple[str, ...]:
    numbers = (fit.inward, fit.stretch, fit.outward, fit.update, fit.update_before, fit.home_update)
    return (str(fit.stage + 1), fit.component, *(f"{number:.3g}" for number in numbers))


def tell(fits: Sequence[StageFit], losses: dict[str, float | None], words: str, console: Console) -> None:
    """The table of fits, and the mean loss of mixed paths before and after."""
    table = bare(f"aligned on {words}; measured on others", *HEAD)
    for fit in fits:
        table.add_row(*_cells(fit))
    console.print(table)
    for when, loss in losses.items():
        if loss is not None:
            console.print(f"mean loss of mixed paths, {when}: {loss:.4f} nats per token", highlight=False)


def card_of(
    supernet: Supernet,
    fits: Sequence[StageFit],
    losses: dict[str, float | None],
    tokens: int,
    text: Sequence[str],
) -> str:
    """The README.md of a set; its first line says what is paired."""
    foreign = ", ".join(name for name in supernet.components if name != supernet.home)
    stages, bypass = supernet.space.stages, "bypass" in supernet.projector
    told = "".join(f"- {when}: {loss:.4f} nats per token\n" for when, loss in losses.items() if loss is not None)
    return (
        f"# {foreign} for {supernet.home} at home, {stages} stages\n\n"
        f"Projectors of kind `{supernet.space.projector}`{BESIDE if bypass else ''}, fitted in closed form on "
        f"{tokens:,} tokens of {', '.join(text)}.\n"
        "P maps home's stream to the other model's own, stretched about its mean where that tells more; Q maps the "
        f"other's update back{PASSED if bypass else ''}. "
        "Lengths of updates are root mean squares.\n\n"
        + markdown(HEAD, (_cells(fit) for fit in fits))
        + (f"\nMean held-out loss of all paths that are not all home:\n\n{told}" if told else "")
        + "\nMade with `manticore align`. It fits the weights, cuts and widths in `config.json` and no others.\n"
    )
