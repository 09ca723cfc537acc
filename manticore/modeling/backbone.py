"""The backbone of hybrids as a Hugging Face model: embedding, one branch for each stage, and the final norm.

A stream of width D is embedded by the base, passed through the branches, and normalized by the base's final norm. How
the branches are connected is the topology's (`wiring`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, Cache, DynamicCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from .branches import BranchSpec, SkipBranch
from .cache import HybridCache
from .configuration_manticore import HybridConfig
from .forward_context import build_context, inputs_of, reject_kwargs
from .ops import OpBranch, build_op
from .packing import MARKERS, document_starts, merge_documents, split_documents
from .projectors import fit_width
from .segments import BackboneLayout, Embedding, Segment, empty_config
from .serving import BUILT_IN, attention_shape, backend_obstacle
from .wiring import build_wiring


class HybridPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialization that all hybrids share."""

    config_class = HybridConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True  # where all stages permit it (`serving.backend_obstacle`)
    _no_split_modules = ["BaseBranch", "DonorBranch", "HubBranch", "OpBranch"]

    def _init_weights(self, module: nn.Module) -> None:
        # Segments and projectors initialize themselves in their constructors, which leaves the embedding tables.
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            scale = getattr(module, "scalar_embed_scale", None)
            if scale is not None:  # Gemma's table has its factor in a buffer that is not saved
                module.get_buffer("embed_scale").fill_(scale)

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        # A layer that is checkpointed alone would be recomputed outside of the kernels that `Segment` installs.
        for module in self.modules():
            if isinstance(module, Segment | OpBranch):
                module.gradient_checkpointing = enable


@dataclass
class HybridModelOutput(BaseModelOutputWithPast):
    """The output of `HybridModel`.

    Attributes:
        document_starts: (B, L), True for the first token of every document behind another in its row; None if there is
            no such document.
    """

    document_starts: Tensor | None = None


class HybridModel(HybridPreTrainedModel):
    """Embedding, stages and final norm: token ids (B, L) -> stream (B, L, D_base).

    Raises ValueError if the configuration names a topology, projector, op or head that is not registered.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        config.check_derived_fields()
        if config._attn_implementation not in BUILT_IN and (obstacle := backend_obstacle(config.stage_layers())):
            what = f"a hybrid with attn_implementation={config._attn_implementation}"
            raise ValueError(f"{what} must be of attention alone, with heads of one size: {obstacle}")
        self.wiring = build_wiring(config.topology)
        self.base_config = config.component_config(config.base)
        layout = BackboneLayout(**config.components[config.base]["layout"])
        backbone = AutoModel.from_config(empty_config(self.base_config, layout, config.vocab_size))
        self.embed = Embedding.of(backbone, self.base_config, layout)
        self.norm = nn.Identity() if self.wiring.norm_in_last_segment else getattr(backbone, layout.norm)
        self.positions = nn.ModuleDict()
        self.stages = nn.ModuleList(self._branch(stage, name) for stage, name in enumerate(config.path))
        for name in self.wiring.position_tables(config.base, config.path):
            self._add_positions(name)
        self.post_init()

    def _add_positions(self, name: str) -> None:
        config: HybridConfig = self.config
        if name not in config.components:  # a skipped stage
            return
        layout = BackboneLayout(**config.components[name]["layout"])
        if layout.positions is not None and not self._same_stream(name):
            component = config.component_config(name)
            self.positions[name] = nn.Embedding(component.max_position_embeddings, component.hidden_size)

    def _same_stream(self, name: str) -> bool:
        """Whether a component runs on the base's stream as it is."""
        return self.wiring.joins_streams and bool(self.config.components[name].get("same_stream"))

    def _branch(self, stage: int, name: str) -> nn.Module:
        config: HybridConfig = self.config
        if name in config.ops:
            record = config.ops[name]
            return OpBranch(build_op(record, config.hidden_size), stage, record.get("causal", True))
        if name not in config.components:
            return SkipBranch()
        record, component = config.components[name], config.component_config(name)
        if config._attn_implementation not in (None, "sdpa"):
            component._attn_implementation = config._attn_implementation
        start, stop = record["layer_boundaries"][stage : stage + 2]
        keep_norm = self.wiring.norm_in_last_segment and stage == len(config.path) - 1
        segment = Segment(component, BackboneLayout(**record["layout"]), start, stop, keep_norm)
        segment.first_layer = sum(config.num_stage_layers(before) for before in range(stage))
        widths = component.hidden_size, config.hidden_size
        same_stream = self._same_stream(name)
        return self.wiring.branch(
            BranchSpec(name, config.base, stage, segment, *widths, config.projector, same_stream=same_stream)
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.embed.tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed.tokens = value

    @property
    def segments(self) -> list[Segment | None]:
        """The segment of each stage; None for stages that are skipped or run by an op."""
        return [getattr(branch, "segment", None) for branch in self.stages]

    @property
    def stateful(self) -> bool:
        """Whether the cache of some stage is a state, from which tokens cannot be removed."""
        stepwise = any(isinstance(branch, OpBranch) and branch.stepwise for branch in self.stages)
        return stepwise or any(segment is not None and segment.recurrent for segment in self.segments)

    @property
    def causal(self) -> bool:
        """Whether no output depends on later tokens; False with an op that is declared as not causal."""
        return all(branch.causal for branch in self.stages if isinstance(branch, OpBranch))

    def new_cache(self) -> HybridCache:
        """An empty cache for generation. Raises ValueError for a hybrid with an op that is not causal."""
        if not self.causal:
            raise ValueError(
                "an op of this hybrid is not causal: its outputs change with later tokens, so use no cache"
            )
        parts = [getattr(branch, "segment", branch) for branch in self.stages]
        caches = [part.new_cache() if isinstance(part, Segment | OpBranch) else None for part in parts]
        return HybridCache(caches, self.stateful)

    def own_cache(self, cache: Any) -> HybridCache | None:
        """`cache`, or a cache with the keys and values of a `DynamicCache` with an entry for each layer of the path.

        Tools pass the latter to prepend trained keys and values (prefix tuning, arXiv 2101.00190). Raises ValueError
        for other classes, for recurrent stages, which have no keys and values, and for other shapes than the layers'.
        """
        if not isinstance(cache, DynamicCache) or len(cache.layers) != self.config.num_hidden_layers:
            return HybridCache.checked(cache)
        shapes = [
            None if segment is None or segment.recurrent else attention_shape(segment.backbone.config)
            for segment in self.segments
        ]
        return self.new_cache().filled(cache, shapes)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        inputs_embeds: Tensor | None = None,
        attention_instances: dict[int, Any] | None = None,
        **kwargs: Any,
    ) -> HybridModelOutput:
        """Run embedding, stages and final norm.

        Args:
            input_ids: (B, L).
            attention_mask: (B, past + L), 1 for tokens, 0 for padding.
            position_ids: (1 or B, L). Default: the index of each token in its sequence, padding not counted.
            past_key_values: a cache from `new_cache`, with the past tokens in it, or a prefix (`own_cache`).
            use_cache: return a cache. Default: as in the configuration, by default only if one was passed.
            output_hidden_states: return the stream (B, L, D) before every stage, and last the normalized stream that
                the head reads. Default: as in the configuration.
            inputs_embeds: (B, L, D_base), rows of `get_input_embeddings()` or vectors in their place, instead of
                `input_ids`.
            attention_instances: by layer of the path, the attention of a backend that brings its own, which also keeps
                packed sequences apart (`serving`).
            kwargs: `seq_idx` or `cu_seq_lens_q`, which mark documents packed into a row, as do `position_ids` that
                start again. Each document is then read as if it were alone (`packing`).

        Returns:
            The normalized stream (B, L, D_base), the cache and the hidden states, if requested. In a packed batch they
            are 0 at padding, and `document_starts` has the boundaries.

        Raises ValueError for arguments that a hybrid does not have, for both kinds of inputs or none, for another class
        of cache, for packed documents with a cache, for a mask of a wrong shape or a missing mask where the cache
        contains padding, for padding between tokens if some layer has a sliding window, and for more tokens than there
        are absolute positions.
        """
        reject_kwargs({"output_attentions": self.config.output_attentions, **kwargs}, *MARKERS)
        inputs = inputs_of(input_ids, inputs_embeds, self.base_config.hidden_size)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        cache = self.new_cache() if past_key_values is None and use_cache else self.own_cache(past_key_values)
        return_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        starts_BL = None
        if attention_instances is None:
            starts_BL = document_starts(inputs, attention_mask, position_ids, cache is not None, kwargs)
        if starts_BL is None:
            options = (return_states, attention_instances or {})
            h_BLD, states = self._run(inputs, attention_mask, position_ids, cache, *options)
        else:
            h_BLD, states = self._run_packed(inputs, attention_mask, position_ids, starts_BL, return_states)
        return HybridModelOutput(
            last_hidden_state=h_BLD,
            past_key_values=cache,
            hidden_states=(*states, h_BLD) if return_states else None,
            document_starts=starts_BL,
        )

    def _run_packed(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        starts_BL: Tensor,
        return_states: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`_run` on each document by itself."""
        groups = split_documents(starts_BL, attention_mask, position_ids)
        outputs = []
        for group in groups:
            mask = None if self.causal else group.mask_NM  # a causal model does not see padding on the right
            h_NMD, states = self._run(group.rows(inputs), mask, group.position_ids_NM, None, return_states)
            outputs.append((h_NMD, *states))
        packed = [merge_documents(groups, parts, inputs.shape[:2]) for parts in zip(*outputs, strict=True)]
        return packed[0], tuple(packed[1:])

    def _run_stages(self) -> list[nn.Module]:
        """The stages that run. Raises ValueError for an exit that the hybrid does not have."""
        stages, depth = list(self.stages), self.config.exit_stage
        if depth is not None and (not 1 <= depth <= len(stages) or self.wiring.norm_in_last_segment):
            raise ValueError(
                f"exit_stage {depth}: this hybrid has the exits 1 to {len(stages)}, with topology residual"
            )
        return stages[:depth]

    def _run(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: HybridCache | None,
        return_states: bool,
        attention_instances: dict[int, Any] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The normalized stream (B, L, D_base), and if requested the stream before every stage."""
        config: HybridConfig = self.config
        windowed = any(segment is not None and segment.windowed for segment in self.segments)
        context = build_context(inputs, attention_mask, position_ids, cache, dict(self.positions.items()), windowed)
        context.attention_instances = attention_instances or {}
        positions = context.positions.get(config.base) if self.wiring.positions_in_embedding else None
        ids_BL, embeds_BLD = (inputs, None) if inputs.dim() == 2 else (None, inputs)
        h_BLD = fit_width(self.embed(ids_BL, positions, embeds_BLD), config.hidden_size)
        states: tuple[Tensor, ...] = ()
        for stage in self._run_stages():
            states += (h_BLD,) if return_states else ()
            h_BLD = stage(h_BLD, context)
        if cache is not None:
            cache.seen += inputs.shape[1]
        h_BLD = self.norm(fit_width(h_BLD, self.base_config.hidden_size))
        return h_BLD, states


HybridModel.register_for_auto_class("AutoModel")
