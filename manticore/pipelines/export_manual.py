"""A language model by hand: pretrained components, a path you choose, no search; projectors untrained or from a set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import GenerationConfig

from manticore.alignment.projector_set import ProjectorSet
from manticore.components import load
from manticore.components.spec import SKIP
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.environment import setup_hardware
from manticore.export.checkpoint import save_checkpoint
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.report.model_card import manual_card
from manticore.tasks.task import HeadSpec
from manticore.utils import assets
from manticore.utils.console import info

SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")

UNTRAINED = (
    "The projectors of donor stages are untrained: features are cut or padded to fit. Train it before you use it."
)


def run(
    models: Sequence[str],
    path: Sequence[str],
    base: str | None,
    out: Path,
    console: Console,
    projectors: str | None = None,
) -> Path:
    """Write the hybrid on `path` as a causal language model, with base's tokenizer and generation config.

    Args:
        models: aliases, hub ids or local folders.
        path: a component's name, or `skip`, for each stage.
        base: who lends embedding, stream and head; default: the projector set's, or the first component on the path.
        out: folder to write; must not exist.
        console: where to say what was written.
        projectors: a projector set, by name or folder; None leaves the projectors untrained.

    Raises ManticoreError if a model or set cannot be had or does not fit, the path names something else, or `out`
    exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    found = None if projectors is None else ProjectorSet.load(assets.find("projectors", projectors))
    options = {} if found is None else dict(found.projector)
    kind = options.pop("kind", "linear")
    space = SearchSpace(models, stages=len(path), projector=kind, projector_options=options, skip=SKIP in path)
    base = (
        base or (found.base if found else None) or next((choice for choice in path if choice != SKIP), space.names[0])
    )
    for choice in (*path, base):
        if choice not in space.candidates:
            raise UnknownName("choice for a stage", choice, space.candidates)
    setup_hardware(RunOptions())
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, base, HeadSpec())
    if found is not None:
        found.apply_to(supernet)
    lender = supernet.components[base]
    special: dict[str, Any] = {key: getattr(lender.config, key, None) for key in SPECIAL}
    hybrid = discretize(supernet, path, **special)
    hybrid.generation_config = lender.model.generation_config or GenerationConfig.from_model_config(lender.config)
    architecture = supernet.architecture(path)
    name = None if found is None or found.folder is None else found.folder.name
    note = UNTRAINED if found is None else f"The projectors of donor stages are those of the set `{name}`."
    card = manual_card(components, architecture.summary(), base, "lm", note)
    told = "untrained" if found is None else f"from {name}"
    place = save_checkpoint(hybrid, lender.tokenizer, out, card)
    info(console, f"{place}: {architecture.summary()}, base {base}; its projectors are {told}")
    return place
