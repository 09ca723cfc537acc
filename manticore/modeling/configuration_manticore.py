"""The configuration of a hybrid: which component runs each stage, and everything needed to build its modules."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from .component_models import COMPONENT_MODELS
from .serving import StageLayers, serving_fields

__all__ = ["COMPONENT_MODELS", "HybridConfig"]


BASE_FIELDS = (
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "attn_logit_softcapping",
    "final_logit_softcapping",
)
"""Fields that tools read from any configuration; a hybrid has those of its base."""

AUTO_MAP = {
    "AutoConfig": "configuration_manticore.HybridConfig",
    "AutoModel": "modeling_manticore.HybridModel",
    "AutoModelForCausalLM": "modeling_manticore.HybridForCausalLM",
    "AutoModelForSequenceClassification": "modeling_manticore.HybridForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_manticore.HybridForTokenClassification",
}
"""The classes of every checkpoint by Auto class. transformers itself writes only that of the model which is saved."""


class HybridConfig(PretrainedConfig):
    """Configuration of a discrete hybrid.

    Args:
        components: by name, the components on the path and the base. Each has `config` (its own Hugging Face
            configuration as a dictionary), `layout` (the fields of `BackboneLayout`), `layer_boundaries` (S + 1 layer
            indices that bound its segments), `same_stream` (true for a twin of the base, for the parent of a base that
            is a twin, and for another twin of that parent: they run on the base's stream as it is), `head_bias`
            (whether its next-token head has a bias), and as a record of its origin `source`, `revision` and
            `pretrained`.
        base: name of the component that provides embedding, residual stream, final norm and next-token head.
        path: for each of the S stages the name of a component or of an op, or `skip`.
        topology: how branches are connected, a name in `wiring.TOPOLOGIES`: `residual` (a donor stage adds its
            translated update to the stream) or `hub` (arXiv 2406.00894: features are cut or zero-padded to fit).
        projector: `kind` of the projectors at donor stages, a name in `projectors.PROJECTORS`, with its options;
            `bypass` is true where a linear map of the stream is added in parallel to the donor's segment.
        hidden_size: width of the residual stream.
        vocab_size: number of token ids.
        head: head type, a name in `heads.HEADS`; None for next-token prediction.
        pad_token_id, bos_token_id, eos_token_id: special token ids, or None.
        tie_word_embeddings: whether the next-token head shares its weight with the embedding.
        ops: by name, the ops on the path: `factory` (its name in `ops.OPS`), `options` and `causal`.
        use_cache: whether a forward pass returns a cache by default; None: only if one is passed to it.
        auto_map: classes in a checkpoint by Auto class. Default: those of `AUTO_MAP`.
        exit_stage: number of stages that run, before the final norm and the head; None: all. It may be changed at run
            time, also by `from_pretrained(folder, exit_stage=2)`, but not while a cache is used.
        exits: numbers of stages for which the hybrid was trained too.

    An exported hybrid has the field `peft_targets`, the layers that adapters of peft are for by default.
    `modules_to_not_convert` names the linear modules that a quantized copy must keep: the head, and those whose weights
    are read without calling them. The fields `BASE_FIELDS` are those of the base, as far as its family has them;
    `logit_scale` is its factor of the logits. A path of attention with windows has `layer_types` and `sliding_window`.
    """

    model_type = "manticore_hybrid"

    def __init__(
        self,
        components: dict[str, dict[str, Any]] | None = None,
        base: str = "",
        path: list[str] | None = None,
        topology: str = "residual",
        projector: dict[str, Any] | None = None,
        hidden_size: int = 0,
        vocab_size: int = 0,
        head: str | None = None,
        pad_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        tie_word_embeddings: bool = False,
        ops: dict[str, dict[str, Any]] | None = None,
        use_cache: bool | None = None,
        auto_map: dict[str, str] | None = None,
        exit_stage: int | None = None,
        exits: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.components = components or {}
        self.ops = ops or {}
        self.base = base
        self.path = list(path or [])
        self.topology = topology
        self.projector = projector or {"kind": "linear"}
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
        self.head = head
        self.num_hidden_layers = sum(self.num_stage_layers(stage) for stage in range(len(self.path)))
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.tie_word_embeddings = tie_word_embeddings
        self.use_cache = use_cache
        self.exit_stage = exit_stage
        self.exits = exits
        self.auto_map = {**AUTO_MAP, **(auto_map or {})}
        raw = sorted({name for record in self.components.values() for name in record["layout"].get("raw_weights", ())})
        # By name, and as patterns for tools that compare names of weights (torchao).
        skipped = ["lm_head", *raw, *(rf".*\.{name}" for name in raw)]
        super().__init__(**{**kwargs, "modules_to_not_convert": skipped, **self._base_fields()})

    def _base_fields(self) -> dict[str, Any]:
        try:
            base_config = self.component_config(self.base)
        except (KeyError, ValueError):  # no components yet, or a user's own model type that is registered later
            return {}
        values = {key: getattr(base_config, key, None) for key in BASE_FIELDS}
        layout = self.components[self.base]["layout"]
        multiplier, divisor = (layout.get(f"logits_{name}") for name in ("multiplier", "divisor"))
        if multiplier or divisor:
            factors = [1.0 if name is None else getattr(base_config, name) for name in (multiplier, divisor)]
            values["logit_scale"] = factors[0] / factors[1]
        values |= serving_fields(self.stage_layers())
        return {key: value for key, value in values.items() if value is not None}

    def stage_layers(self) -> list[StageLayers]:
        """What runs each stage that is not skipped."""
        stages = []
        for stage, name in enumerate(self.path):
            if name in self.ops:
                stages.append(StageLayers(name))
            elif name in self.components:
                record = self.components[name]
                layers = range(*record["layer_boundaries"][stage : stage + 2])
                stages.append(StageLayers(name, self.component_config(name), record["layout"]["recurrent"], layers))
        return stages

    def num_stage_layers(self, stage: int) -> int:
        """Number of layers that run at stage `stage` (from 0)."""
        component = self.components.get(self.path[stage])
        if component is None:
            return 0
        start, stop = component["layer_boundaries"][stage : stage + 2]
        return int(stop - start)

    @property
    def position_limits(self) -> dict[str, int]:
        """Number of absolute positions by component. Components without a limit are left out."""
        limits = {
            name: getattr(self.component_config(name), "max_position_embeddings", None) for name in self.components
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def max_position_embeddings(self) -> int:
        """Largest number of tokens that all components can read. Raises AttributeError if there is no limit."""
        if not self.position_limits:
            raise AttributeError("no component limits the number of tokens")
        return min(self.position_limits.values())

    @max_position_embeddings.setter
    def max_position_embeddings(self, value: int) -> None:
        """Raises ValueError: the number follows from the components."""
        raise ValueError(
            "max_position_embeddings of a hybrid is the smallest of its components'; change it in "
            "config.components[name]['config'], and the tables of absolute positions with it"
        )

    def check_derived_fields(self) -> None:
        """Raises ValueError if a field that follows from the components has another value.

        `from_pretrained(folder, num_hidden_layers=2)` sets such a field, and builds the same layers.
        """
        layers = sum(self.num_stage_layers(stage) for stage in range(len(self.path)))
        for name, value in {"num_hidden_layers": layers, **self._base_fields()}.items():
            if getattr(self, name, value) != value:
                raise ValueError(f"{name}={getattr(self, name)} of a hybrid follows from its components: it is {value}")

    def component_config(self, name: str) -> PretrainedConfig:
        """The configuration of a component, as an object of its own class."""
        fields = dict(self.components[name]["config"])
        return AutoConfig.for_model(fields.pop("model_type"), **fields)


HybridConfig.register_for_auto_class()
