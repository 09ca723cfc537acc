"""The hybrid as Hugging Face models: a backbone, and three classes with heads. Knows nothing of search.

A stream of width D is embedded by base, passed through one branch for each stage, and read by base's norm and head.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils import can_return_tuple

from .branches import BaseBranch, DonorBranch, HubBranch, SkipBranch
from .cache import HybridCache
from .configuration_manticore import HybridConfig
from .forward_context import build_context, reject_kwargs
from .generation import HybridGenerationMixin
from .heads import HEADS
from .masking import needed_mask
from .projectors import fit_width
from .segments import BackboneLayout, Embedding, Segment, shell_config, submodule_or_identity


class HybridPreTrainedModel(PreTrainedModel):
    """What all hybrids share with Hugging Face's loading and saving."""

    config_class = HybridConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["BaseBranch", "DonorBranch", "HubBranch"]

    def _init_weights(self, module: nn.Module) -> None:
        # Segments are initialized by their own families and projectors by their constructors: left are the tables.
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        # Layers inside would be run again outside of what `Segment` puts around them: segments are run again whole.
        for module in self.modules():
            if isinstance(module, Segment):
                module.recompute = enable


class HybridModel(HybridPreTrainedModel):
    """Embedding, stages and final norm: token ids (B, L) -> stream (B, L, D_base)."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.base_config = config.component(config.base)
        base_layout = BackboneLayout(**config.components[config.base]["layout"])
        shell = AutoModel.from_config(shell_config(self.base_config, config.vocab_size))
        self.embed = Embedding(getattr(shell, base_layout.tokens), submodule_or_identity(shell, base_layout.dropout))
        hub = config.topology == "hub"
        self.norm = nn.Identity() if hub else getattr(shell, base_layout.norm)
        self.positions = nn.ModuleDict()
        self.stages = nn.ModuleList()
        for stage, name in enumerate(config.path):
            self.stages.append(self._branch(stage, name))
        for name in [config.base] if hub else [config.base, *config.path]:  # in the hub, base runs the first stage
            self._add_positions(name)
        self.post_init()

    def _add_positions(self, name: str) -> None:
        config: HybridConfig = self.config
        if name not in config.components or name in self.positions:
            return
        layout = BackboneLayout(**config.components[name]["layout"])
        if layout.positions is not None:
            own = config.component(name)
            self.positions[name] = nn.Embedding(own.max_position_embeddings, own.hidden_size)

    def _branch(self, stage: int, name: str) -> nn.Module:
        config: HybridConfig = self.config
        if name not in config.components:
            return SkipBranch()
        held = config.components[name]
        own = config.component(name)
        if config._attn_implementation == "eager":
            own._attn_implementation = "eager"
        last = stage == len(config.path) - 1
        start, stop = held["layer_boundaries"][stage], held["layer_boundaries"][stage + 1]
        hub = config.topology == "hub"
        segment = Segment(own, BackboneLayout(**held["layout"]), start, stop, keep_norm=hub and last)
        if hub:
            return HubBranch(name, segment, stage, own.hidden_size, config.hidden_size, config.projector)
        if name == config.base:
            return BaseBranch(segment, stage)
        return DonorBranch(name, segment, stage, own.hidden_size, config.hidden_size, config.projector)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed.tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed.tokens = value

    @property
    def segments(self) -> list[Segment | None]:
        """The segment of each stage; None for skipped ones."""
        return [getattr(branch, "segment", None) for branch in self.stages]

    @property
    def stateful(self) -> bool:
        """Some stage is recurrent: its cache is a state, which only moves on."""
        return any(segment is not None and segment.recurrent for segment in self.segments)

    def new_cache(self) -> HybridCache:
        """An empty cache for generation."""
        caches = [None if segment is None else segment.new_cache() for segment in self.segments]
        return HybridCache(caches, self.stateful)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HybridCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the hybrid.

        Args:
            input_ids: (B, L).
            attention_mask: (B, past + L), 1 for tokens, 0 for padding.
            position_ids: (1 or B, L); default: each sequence's own tokens are counted, padding is not.
            past_key_values: what `new_cache` made, with the past in it.
            use_cache: return a cache. Default: only if one was given.
            output_hidden_states: return the stream (B, L, D) before every stage, and last what the head is given.
                Default: the configuration's.

        Raises ValueError for inputs_embeds, output_attentions, another kind of cache, a mask of another shape or
        missing where the cache holds padding, padding between tokens where windows slide, and more tokens than there
        are absolute positions.
        """
        if input_ids is None:
            raise ValueError("a hybrid reads input_ids; inputs_embeds are not supported")
        reject_kwargs(kwargs, "output_attentions")
        config: HybridConfig = self.config
        cache = self.new_cache() if past_key_values is None and use_cache else past_key_values
        windowed = any(segment is not None and segment.windowed for segment in self.segments)
        context = build_context(input_ids, attention_mask, position_ids, cache, dict(self.positions.items()), windowed)
        hub = config.topology == "hub"
        h_BLD = self.embed(input_ids, None if hub else context.positions.get(config.base))
        h_BLD = fit_width(h_BLD, config.hidden_size)
        told = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states: tuple[Tensor, ...] = ()
        for stage in self.stages:
            states += (h_BLD,) if told else ()
            h_BLD = stage(h_BLD, context)
        if cache is not None:
            cache.seen += input_ids.shape[1]
        h_BLD = self.norm(fit_width(h_BLD, self.base_config.hidden_size))
        kept = (*states, h_BLD) if told else None
        return BaseModelOutputWithPast(last_hidden_state=h_BLD, past_key_values=cache, hidden_states=kept)


class HybridForCausalLM(HybridGenerationMixin, HybridPreTrainedModel, GenerationMixin):
    """A hybrid that predicts the next token, with base's own head."""

    _tied_weights_keys = {"head.weight": "model.embed.tokens.weight"}

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        base = self.model.base_config
        bias = bool(config.components[config.base].get("head_bias", False))
        self.head = nn.Linear(base.hidden_size, config.vocab_size, bias=bias)
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
        past_key_values: HybridCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V), and with `labels` (B, L; -100 is ignored; shifted inside) the loss in nats.

        That is the mean over the labels, or the sum divided by `num_items_in_batch`, which Trainer gives.
        """
        reject_kwargs(kwargs, "output_attentions")
        out = self.model(
            input_ids, attention_mask, position_ids, past_key_values, use_cache, output_hidden_states, return_dict=True
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and logits_to_keep else slice(None)
        h_BLD = out.last_hidden_state[:, kept if isinstance(logits_to_keep, int) else logits_to_keep]
        logits_BLV = self.head(h_BLD)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BLV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits_BLV, past_key_values=out.past_key_values, hidden_states=out.hidden_states
        )


class HybridWithHead(HybridPreTrainedModel):
    """A hybrid with the head its configuration names; one of another class's, or none, means its own first."""

    heads: tuple[str, ...] = ()
    accepts_loss_kwargs = False  # the loss is a mean over each batch, and Trainer is to average it over batches

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        kind = config.head if config.head in self.heads else self.heads[0]
        self.score = HEADS[kind](self.model.base_config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if any(module is held for held in self.score.modules()):
            PreTrainedModel._init_weights(self, module)

    def logits(self, input_ids: Tensor | None, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        """What the head says. Without an attention mask, tokens equal to `config.pad_token_id` count as padding."""
        if attention_mask is None and input_ids is not None and self.config.pad_token_id is not None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        out = self.model(input_ids, needed_mask(attention_mask), position_ids, return_dict=True)
        h_BLD = out.last_hidden_state
        logits: Tensor = self.score(self.score.pick(h_BLD, attention_mask), h_BLD.shape[1])
        return logits

    @staticmethod
    def loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Mean cross-entropy in nats over all labels but those of -100."""
        return None if labels is None else F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())


class HybridForSequenceClassification(HybridWithHead):
    """A hybrid that labels a sequence, or two together, by the states of their last tokens."""

    heads = ("classification", "pair")

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutputWithPast:
        """Logits (B, num_labels), and with `labels` (B,) the mean cross-entropy in nats.

        Where two sequences have one label, `input_ids` is (2B, L): first all first ones, then all second ones.
        """
        reject_kwargs(kwargs, "output_attentions", "output_hidden_states")
        logits = self.logits(input_ids, attention_mask, position_ids)
        return SequenceClassifierOutputWithPast(loss=self.loss(logits, labels), logits=logits)


class HybridForTokenClassification(HybridWithHead):
    """A hybrid that labels every token: where it stands, or all of them from the state of the last."""

    heads = ("tokens", "autoencoder")

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Logits (B, L, num_labels), and with `labels` (B, L; -100 is ignored, nothing is shifted) the mean loss."""
        reject_kwargs(kwargs, "output_attentions", "output_hidden_states")
        logits = self.logits(input_ids, attention_mask, position_ids)
        return TokenClassifierOutput(loss=self.loss(logits, labels), logits=logits)


HybridModel.register_for_auto_class("AutoModel")
HybridForCausalLM.register_for_auto_class("AutoModelForCausalLM")
HybridForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
HybridForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
