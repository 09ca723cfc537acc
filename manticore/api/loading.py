"""`load` and `supernet`: objects from files that commands write, and from the components that they start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from manticore.alignment.projector_set import ProjectorSet
from manticore.api.arguments import Models, source_folder
from manticore.components.loading import load as load_component
from manticore.components.spec import ComponentSpec
from manticore.export.load import check_config_exists, is_hybrid, load_hybrid
from manticore.nas.op_checks import check_ops
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.utils import assets
from manticore.utils.io import read_json

PROBE_LENGTH = 64
"""Tokens of the random sequences that ops are tested on."""


def load(source: Path | str, trust_code: bool = False) -> PreTrainedModel | ProjectorSet:
    """Load a hybrid, a component or a projector set.

    Args:
        source: an exported folder or a run folder (its hybrid, in float32, with the head that it was exported with); a
            component, by alias, hub id or folder (a causal language model); or a projector set, by name or folder.
        trust_code: run the code in a hybrid's folder for ops and other parts of its own that this process does not
            have.

    Raises ManticoreError if there is none, with the nearest name, or if it is damaged.
    """
    name, path = str(source), source_folder(source).expanduser()
    if is_hybrid(path):
        return load_hybrid(path, trust_code)
    if name in assets.names("projectors") or is_projector_set(path):
        return ProjectorSet.load(assets.find("projectors", name))
    if path.is_dir():
        check_config_exists(path)
    return load_component(ComponentSpec(name, init="pretrained")).model


def supernet(
    space: SearchSpace | Models | str | Path,
    projectors: ProjectorSet | str | Path | None = None,
    trust_code: bool = False,
) -> Supernet:
    """The supernet of pretrained language models, before any training, on the CPU.

    Args:
        space: a `SearchSpace`, the name or path of one, or a list of components. Its base is by default that of the
            projector set, or the first component.
        projectors: projector set, as an object, by name or by folder. Default: projectors start near the identity.
        trust_code: import the ops that the space names by import path.

    Raises ManticoreError if a component cannot be loaded, if the projector set does not fit, or if an op does
    not meet a requirement, such as to be causal.
    """
    if isinstance(space, str | Path):
        space = SearchSpace.load(assets.find("spaces", space))
    elif not isinstance(space, SearchSpace):
        space = SearchSpace(space)
    space = space.with_code(trust_code)
    if projectors is not None:
        if not isinstance(projectors, ProjectorSet):
            projectors = ProjectorSet.load(assets.find("projectors", projectors))
        space = replace(space, base=space.base or projectors.base)
        options = dict(projectors.projector)
        kind = str(options.pop("kind"))
        if space.projector in (SearchSpace.projector, kind):  # `apply_to` reports another
            space = replace(space, projector=kind, projector_options={**options, **space.projector_options})
    components = [load_component(spec) for spec in space.components]
    base = space.base or space.names[0]
    widths = [component.width for component in components if component.name == base]
    check_ops(space.ops, widths, "lm", PROBE_LENGTH)
    net = Supernet(components, space, base, HeadSpec())
    if projectors is not None:
        projectors.apply_to(net)
    return net.eval()


def is_projector_set(path: Path) -> bool:
    """Whether a folder has the config.json of a projector set. Weights are not read."""
    file = path / "config.json"
    config = read_json(file) if file.is_file() else None
    return isinstance(config, dict) and "projector" in config and "model_type" not in config
