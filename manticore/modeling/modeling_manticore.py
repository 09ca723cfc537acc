"""The hybrid as Hugging Face models: a backbone, and three classes with heads.

A stream of width D is embedded by the base, passed through one branch for each stage, and read by the base's final norm
and a head. How the branches are connected is the topology's (`wiring`).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils import can_return_tuple

from .branches import BranchSpec, SkipBranch
from .cache import HybridCache
from .configuration_manticore import HybridConfig
from .forward_context import build_context, inputs_of, reject_kwargs
from .generation import HybridGenerationMixin
from .heads import build_head, head_class
from .masking import needed_mask
from .ops import OpBranch, build_op
from .projectors import fit_width
from .scaling import LogitScale
from .segments import BackboneLayout, Embedding, Segment, empty_config
from .wiring import build_wiring


class HybridPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialization that all hybrids share."""

    config_class = HybridConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
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


class HybridModel(HybridPreTrainedModel):
    """Embedding, stages and final norm: token ids (B, L) -> stream (B, L, D_base).

    Raises ValueError if the configuration names a topology, projector, op or head that is not registered.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
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
        if layout.positions is not None:
            component = config.component_config(name)
            self.positions[name] = nn.Embedding(component.max_position_embeddings, component.hidden_size)

    def _branch(self, stage: int, name: str) -> nn.Module:
        config: HybridConfig = self.config
        if name in config.ops:
            record = config.ops[name]
            return OpBranch(build_op(record, config.hidden_size), stage, record.get("causal", True))
        if name not in config.components:
            return SkipBranch()
        record, component = config.components[name], config.component_config(name)
        if config._attn_implementation == "eager":
            component._attn_implementation = "eager"
        start, stop = record["layer_boundaries"][stage : stage + 2]
        keep_norm = self.wiring.norm_in_last_segment and stage == len(config.path) - 1
        segment = Segment(component, BackboneLayout(**record["layout"]), start, stop, keep_norm)
        width = component.hidden_size
        return self.wiring.branch(
            BranchSpec(name, config.base, stage, segment, width, config.hidden_size, config.projector)
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
        shapes = [None if segment is None else segment.attention_shape for segment in self.segments]
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
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run embedding, stages and final norm.

        Args:
            input_ids: (B, L).
            attention_mask: (B, past + L), 1 for tokens, 0 for padding.
            position_ids: (1 or B, L). Default: the index of each token in its sequence, padding not counted.
            past_key_values: a cache from `new_cache`, with the past tokens in it, or a prefix (`own_cache`).
            use_cache: return a cache. Default: only if one was passed.
            output_hidden_states: return the stream (B, L, D) before every stage, and last the normalized stream that
                the head reads. Default: as in the configuration.
            inputs_embeds: (B, L, D_base), rows of `get_input_embeddings()` or vectors in their place, instead of
                `input_ids`.

        Returns:
            The normalized stream (B, L, D_base), the cache and the hidden states, if requested.

        Raises ValueError for `output_attentions`, for both kinds of inputs or none, for another class of cache, for a
        mask of a wrong shape or a missing mask where the cache contains padding, for padding between tokens if some
        layer has a sliding window, and for more tokens than there are absolute positions.
        """
        reject_kwargs(kwargs, "output_attentions")
        config: HybridConfig = self.config
        inputs = inputs_of(input_ids, inputs_embeds, self.base_config.hidden_size)
        cache = self.new_cache() if past_key_values is None and use_cache else self.own_cache(past_key_values)
        windowed = any(segment is not None and segment.windowed for segment in self.segments)
        context = build_context(inputs, attention_mask, position_ids, cache, dict(self.positions.items()), windowed)
        positions = context.positions.get(config.base) if self.wiring.positions_in_embedding else None
        h_BLD = fit_width(self.embed(input_ids, positions, inputs_embeds), config.hidden_size)
        return_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states: tuple[Tensor, ...] = ()
        for stage in self.stages:
            states += (h_BLD,) if return_states else ()
            h_BLD = stage(h_BLD, context)
        if cache is not None:
            cache.seen += inputs.shape[1]
        h_BLD = self.norm(fit_width(h_BLD, self.base_config.hidden_size))
        return BaseModelOutputWithPast(
            last_hidden_state=h_BLD,
            past_key_values=cache,
            hidden_states=(*states, h_BLD) if return_states else None,
        )


class HybridForCausalLM(HybridGenerationMixin, HybridPreTrainedModel, GenerationMixin):
    """A hybrid that predicts the next token with the base's own head."""

    _tied_weights_keys = {"head.weight": "model.embed.tokens.weight"}

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        record, base_config = config.components[config.base], self.model.base_config
        bias = bool(record.get("head_bias", False))
        self.head = nn.Linear(base_config.hidden_size, config.vocab_size, bias=bias)
        self.logit_scale = LogitScale.of(base_config, BackboneLayout(**record["layout"]))
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Next-token logits and, with `labels`, the cross-entropy in nats.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, use_cache, output_hidden_states, inputs_embeds:
                as in `HybridModel.forward`.
            labels: (B, L), -100 where there is no label. They are shifted here: pass the input ids.
            logits_to_keep: compute logits of the last n tokens (0: of all), or of these positions.
            kwargs: `num_items_in_batch`, which Trainer passes: the loss is the sum divided by it, instead of the mean.

        Returns:
            Logits (B, L, V), the loss, the cache and the hidden states.
        """
        reject_kwargs(kwargs, "output_attentions")
        out = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            use_cache,
            output_hidden_states,
            inputs_embeds,
            return_dict=True,
        )
        positions: Tensor | slice = (
            slice(-logits_to_keep or None, None) if isinstance(logits_to_keep, int) else logits_to_keep
        )
        logits_BLV = self.logit_scale(self.head(out.last_hidden_state[:, positions]))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BLV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits_BLV, past_key_values=out.past_key_values, hidden_states=out.hidden_states
        )


class HybridWithHead(HybridPreTrainedModel):
    """Base class of hybrids for labelled tasks, with the head that the configuration names.

    Attributes:
        per_token: logits are (B, L, num_labels), from a head with `per_token`; otherwise (B, num_labels).
        default_head: head type where the configuration names none, or one with logits of the other shape.
    """

    per_token: bool
    default_head: str
    accepts_loss_kwargs = False  # the loss is a mean over the batch, so Trainer must average over accumulated batches

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        kind = config.head or self.default_head
        kind = kind if head_class(kind).per_token == self.per_token else self.default_head
        self.score = build_head(kind, self.model.base_config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if any(module is part for part in self.score.modules()):
            PreTrainedModel._init_weights(self, module)

    def logits(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Logits of the head. Without an attention mask, tokens equal to `config.pad_token_id` are padding."""
        if attention_mask is None and input_ids is not None and self.config.pad_token_id is not None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        mask = needed_mask(attention_mask) if self.model.causal else attention_mask
        out = self.model(input_ids, mask, position_ids, inputs_embeds=inputs_embeds, return_dict=True)
        h_BLD = out.last_hidden_state
        logits: Tensor = self.score(self.score.select_states(h_BLD, attention_mask), h_BLD.shape[1])
        return logits

    @staticmethod
    def loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Mean cross-entropy in nats over all labels other than -100; None without labels."""
        return None if labels is None else F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())


class HybridForSequenceClassification(HybridWithHead):
    """A hybrid that predicts one label for each sequence, or for each pair of sequences."""

    per_token = False
    default_head = "classification"

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutputWithPast:
        """Logits (B, num_labels), and with `labels` (B,) the mean cross-entropy in nats.

        For pairs, `input_ids` is (2B, L): all first sequences, then all second ones.
        """
        reject_kwargs(kwargs, "output_attentions", "output_hidden_states")
        logits = self.logits(input_ids, attention_mask, position_ids, inputs_embeds)
        return SequenceClassifierOutputWithPast(loss=self.loss(logits, labels), logits=logits)


class HybridForTokenClassification(HybridWithHead):
    """A hybrid that predicts one label for each token."""

    per_token = True
    default_head = "tokens"

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Logits (B, L, num_labels), and with `labels` (B, L; -100 is ignored; not shifted) the mean cross-entropy."""
        reject_kwargs(kwargs, "output_attentions", "output_hidden_states")
        logits = self.logits(input_ids, attention_mask, position_ids, inputs_embeds)
        return TokenClassifierOutput(loss=self.loss(logits, labels), logits=logits)


def model_class_of(head: str | None) -> type[HybridPreTrainedModel]:
    """The Hugging Face class of hybrids with this head type; None and `lm` are next-token prediction."""
    if head in (None, "lm"):
        return HybridForCausalLM
    return HybridForTokenClassification if head_class(str(head)).per_token else HybridForSequenceClassification


HybridModel.register_for_auto_class("AutoModel")
HybridForCausalLM.register_for_auto_class("AutoModelForCausalLM")
HybridForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
HybridForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
