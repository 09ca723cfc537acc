"""Projector sets: P, Q and bypasses between one base and its donor components, stored as a folder.

A projector set fits only the models, layer boundaries and widths that it was fitted to; `ProjectorSet.check` compares
them. `projectors/README.md` specifies the format of the folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from manticore.components import Component
from manticore.errors import BadFile, ManticoreError
from manticore.modeling.projectors import BRANCH_OPTIONS, build_bypass, build_projector
from manticore.nas.projector_checks import check_projector
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.utils.io import atomic_dir, read_json, write_json, write_text

FORMAT = 2
REQUIRED_KEYS = ("format", "base", "stages", "projector", "components", "tokens")
"""Keys that the `config.json` of every set has."""


@dataclass(frozen=True)
class SetComponent:
    """A component that a projector set was fitted to.

    Attributes:
        weights: hash of the component's parameters; see `weight_hash`.
        width: features of its residual stream.
        layer_boundaries: the S + 1 boundaries of its segments.
        source: alias, hub id or name of the folder.
        revision: commit or tag on the hub; None for a local folder.
    """

    weights: str
    width: int
    layer_boundaries: list[int]
    source: str = ""
    revision: str | None = None

    @classmethod
    def of(cls, component: Component, space: SearchSpace) -> SetComponent:
        """The description of a loaded component, cut at the layer boundaries of the space."""
        source = Path(component.source).name if Path(component.source).is_dir() else component.source
        boundaries = space.layer_boundaries(component)
        return cls(component.weight_hash, component.width, boundaries, source, component.revision)


@dataclass(frozen=True)
class ProjectorSet:
    """Weights of P, Q and bypasses, and a description of the models that they connect.

    Attributes:
        base: name of the base component.
        stages: number of stages S.
        projector: kind of the projectors, with its options.
        components: by name, base among them.
        tokens: number of base tokens that the projectors were fitted on.
        weights: tensors by their names in a supernet, such as `stages.0.mamba.proj_in.weight`.
        facts: further entries of `config.json`, such as the quality of the fit.
        folder: folder that the set was read from; None for one that was not read from disk.
    """

    base: str
    stages: int
    projector: Mapping[str, Any]
    components: Mapping[str, SetComponent]
    tokens: int
    weights: Mapping[str, Tensor] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    @classmethod
    def of(cls, supernet: Supernet, tokens: int, **facts: Any) -> ProjectorSet:
        """The projectors of a supernet, fitted on `tokens` base tokens; `facts` must be fit for JSON.

        Raises ManticoreError if a projector holds a value that is not finite.
        """
        weights = {key: value.detach().cpu().contiguous() for key, value in projector_state(supernet).items()}
        if (key := _first_non_finite(weights)) is not None:
            raise ManticoreError(f"{key} is not finite; nothing was written")
        stages = supernet.space.stages
        components = {
            name: SetComponent.of(component, supernet.space) for name, component in supernet.components.items()
        }
        return cls(supernet.base, stages, supernet.projector, components, tokens, weights, facts)

    @classmethod
    def load(cls, folder: Path) -> ProjectorSet:
        """Read and validate a projector set. Raises BadFile if the folder holds none, or a damaged one."""
        file, config = folder / "config.json", read_projector_config(folder)
        facts = {key: value for key, value in config.items() if key not in REQUIRED_KEYS}
        keys = SetComponent.__dataclass_fields__
        components = {
            name: SetComponent(**{key: value for key, value in record.items() if key in keys})
            for name, record in config["components"].items()
        }
        shapes = _tensor_shapes(file, config["base"], config["stages"], config["projector"], components)
        weights = _read_weights(folder / "model.safetensors", shapes)
        return cls(
            config["base"], config["stages"], config["projector"], components, config["tokens"], weights, facts, folder
        )

    def save(self, folder: Path, card: str) -> Path:
        """Write the set to a new folder, atomically.

        Args:
            folder: folder to write; must not exist.
            card: text of its README.md; `manticore ls projectors` shows its first line.

        Raises ManticoreError if `folder` exists.
        """
        if folder.exists():
            raise ManticoreError(f"{folder} exists; choose another folder")
        config = {
            "format": FORMAT,
            "base": self.base,
            "stages": self.stages,
            "projector": dict(self.projector),
            "components": {name: asdict(component) for name, component in self.components.items()},
            "tokens": self.tokens,
            **self.facts,
        }
        with atomic_dir(folder) as part:
            write_json(part / "config.json", _to_json(config))
            save_file(dict(self.weights), part / "model.safetensors", metadata={"format": "pt"})
            write_text(part / "README.md", card)
        return folder

    @property
    def donors(self) -> list[str]:
        """Names of the components that the set has projectors for."""
        return [name for name in self.components if name != self.base]

    def check(self, components: Sequence[Component], space: SearchSpace, base: str) -> None:
        """Check that the set fits a search space with loaded components. No supernet is built.

        The set may have further donors. Raises ManticoreError with the first difference: base, number of stages,
        projector, or the weights, width or layer boundaries of a component.
        """
        where = self.folder or "this projector set"
        check_stages(where, self.stages, space.stages)
        for label, in_set, in_space in (
            ("base", self.base, base),
            ("projector", dict(self.projector), space.projector_config),
        ):
            if in_set != in_space:
                raise ManticoreError(f"{where} has {label} {_short(in_set)}, the search space {_short(in_space)}")
        for component in components:
            fitted = self.components.get(component.name)
            if fitted is None:
                known = ", ".join(sorted(self.components))
                raise ManticoreError(f"{where} has no projectors of '{component.name}'; it was made for {known}")
            loaded = SetComponent.of(component, space)
            for key in ("weights", "width", "layer_boundaries"):
                in_set, in_space = getattr(fitted, key), getattr(loaded, key)
                if in_set != in_space:
                    raise ManticoreError(
                        f"{where} was made for other {key} of '{component.name}': "
                        f"{_short(in_set)}, here {_short(in_space)}"
                    )

    def apply_to(self, supernet: Supernet) -> None:
        """Copy the projectors into a supernet, in place. Raises ManticoreError if the set does not fit; see `check`."""
        self.check(list(supernet.components.values()), supernet.space, supernet.base)
        supernet.load_state_dict({key: self.weights[key] for key in projector_state(supernet)}, strict=False)


def check_stages(source: Path | str, in_set: int, requested: int) -> None:
    """Raises ManticoreError unless a projector set has the required number of stages; `source` names the set."""
    if in_set != requested:
        raise ManticoreError(
            f"{source} was fitted for {in_set} stages, not for {requested}; fit a set for {requested} "
            f"(manticore align --stages {requested}), or use {in_set} stages"
        )


def read_projector_config(folder: Path) -> dict[str, Any]:
    """Read and validate the `config.json` of a projector set. Raises BadFile."""
    file = folder / "config.json"
    config = read_json(file)
    _check_config(file, config)
    return dict(config)


def projector_state(supernet: Supernet) -> dict[str, Tensor]:
    """Weights of a supernet's projectors and bypasses, by their names in its state dict."""
    return {key: value for key, value in supernet.state_dict().items() if is_projector_weight(key)}


def _first_non_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a value that is not finite."""
    return next((key for key, value in weights.items() if not value.isfinite().all()), None)


def _to_json(value: Any) -> Any:
    """The same value with null for numbers that JSON cannot express."""
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: Any) -> str:
    """A value for a message: a hash is cut short, a projector is named by kind, bypass and options."""
    if isinstance(value, Mapping):
        options = {key: option for key, option in value.items() if key not in BRANCH_OPTIONS}
        bypass = " with a bypass" if value.get("bypass") else ""
        return f"{value.get('kind')}{bypass}" + (f" {options}" if options else "")
    return value[:20] if isinstance(value, str) and value.startswith("blake2b:") else str(value)


def _check_config(file: Path, config: Any) -> None:
    """Raises BadFile unless `config` has the form of a projector set's `config.json`."""
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise BadFile(file, f"not a projector set of format {FORMAT}")
    missing = [key for key in REQUIRED_KEYS if key not in config]
    if missing:
        raise BadFile(file, f"a projector set without '{missing[0]}'")
    for key, least in {"stages": 1, "tokens": 0}.items():
        if type(config[key]) is not int or config[key] < least:
            raise BadFile(file, f"'{key}' must be a whole number of at least {least}")
    components = config["components"]
    if not isinstance(components, dict) or not isinstance(config["base"], str) or config["base"] not in components:
        raise BadFile(file, "'components' must give weights, width and layer boundaries of base and of every donor")
    types = {"weights": str, "width": int, "layer_boundaries": list}
    for name, record in components.items():
        if not isinstance(record, dict) or any(type(record.get(key)) is not kind for key, kind in types.items()):
            raise BadFile(file, f"'components' must give weights, width and layer boundaries of '{name}'")
        if not _are_boundaries(record["layer_boundaries"], config["stages"]):
            raise BadFile(
                file, f"the layer boundaries of '{name}' must rise from 0, one more than {config['stages']} stages"
            )


def _are_boundaries(boundaries: list[Any], stages: int) -> bool:
    """Whether these are S + 1 rising layer numbers from 0."""
    if len(boundaries) != stages + 1 or any(type(layer) is not int for layer in boundaries):
        return False
    return boundaries[0] == 0 and all(low < high for low, high in pairwise(boundaries))


def _tensor_shapes(
    file: Path, base: str, stages: int, projector: Any, components: Mapping[str, SetComponent]
) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a set. Raises BadFile if such projectors cannot be built."""
    try:
        if not isinstance(projector, Mapping) or not isinstance(projector.get("kind"), str):
            raise ManticoreError("expected a mapping with its kind")
        check_projector(projector["kind"], {key: value for key, value in projector.items() if key != "kind"})
        shapes = {}
        for name in components:
            if name == base:
                continue
            modules = _build_modules(dict(projector), components[base].width, components[name].width)
            for part, module in modules.items():
                for key, value in ({} if module is None else module.state_dict()).items():
                    for stage in range(stages):
                        shapes[f"stages.{stage}.{name}.{part}.{key}"] = tuple(value.shape)
        return shapes
    except Exception as error:  # a user's own projector class may raise anything
        raise BadFile(file, f"'projector' cannot be: {str(error).strip().splitlines()[0][:200]}") from None


def _build_modules(projector: dict[str, Any], d_base: int, d_donor: int) -> dict[str, torch.nn.Module | None]:
    """P, Q and bypass of one branch; torch's random state stays as it was.

    Their weights have no memory, unless a projector of a user reads them when it is built.
    """

    def build() -> dict[str, torch.nn.Module | None]:
        return {
            "proj_in": build_projector(projector, d_base, d_donor),
            "proj_out": build_projector(projector, d_donor, d_base),
            "bypass": build_bypass(projector, d_base),
        }

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except Exception:  # of an own class, or of options that the other call refuses too
            return build()


def _read_weights(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises BadFile if it is damaged or tensors or shapes differ from `shapes`."""
    try:
        weights: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadFile(file, f"cannot be read as safetensors ({str(error)[:80]})") from None
    if (key := _first_non_finite(weights)) is not None:
        raise BadFile(file, f"{key} is not finite")
    for key, shape in shapes.items():
        if key not in weights:
            raise BadFile(file, f"holds no {key}")
        if tuple(weights[key].shape) != shape:
            raise BadFile(file, f"{key} has the shape {tuple(weights[key].shape)}, not {shape}")
    return weights
