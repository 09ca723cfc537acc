"""The hybrid as Hugging Face models: a backbone, and three classes with heads. Knows nothing of search.

A stream of width D is embedded by home, passed through one branch for each stage, and read by home's norm and head.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)

from .branches import ForeignBranch, HomeBranch, HubBranch, SkipBranch
from .cache import HybridCache
from .configuration_manticore import HybridConfig
from .heads import HEADS
from .padding import check_mask, has_padding, in_the_way, needed_mask, places
from .projectors import fit
from .segments import Anatomy, Context, Segment, part, slice_config


class Embedding(nn.Module):
    """Token embedding (B, L) -> (B, L, D_k), with home's absolute positions and dropout where the family has them."""

    def __init__(self, tokens: nn.Embedding, dropout: nn.Module) -> None:
        super().__init__()
        self.tokens = tokens
        self.dropout = dropout

    def forward(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        x_BLD = self.tokens(input_ids)
        out: Tensor = self.dropout(x_BLD if positions is None else x_BLD + positions)
        return out


class HybridPreTrainedModel(PreTrainedModel):
    """What all hybrids share with Hugging Face's loading and saving."""

    config_class = HybridConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["HomeBranch", "ForeignBranch", "HubBranch"]

    def _init_weights(self, module: nn.Module) -> None:
        # Segments are initialized by their own families and projectors by their constructors: left are the tables.
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


class HybridModel(HybridPreTrainedModel):
    """Embedding, stages and final norm: token ids (B, L) -> stream (B, L, D_home)."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.home_config = config.component(config.home)
        home_anatomy = Anatomy(**config.components[config.home]["anatomy"])
        shell = AutoModel.from_config(shell_config(self.home_config, config.vocab_size))
        self.embed = Embedding(getattr(shell, home_anatomy.tokens), part(shell, home_anatomy.dropout))
        hub = config.topology == "hub"
        self.norm = nn.Identity() if hub else getattr(shell, home_anatomy.norm)
        self.positions = nn.ModuleDict()
        self.stages = nn.ModuleList()
        for stage, name in enumerate(config.path):
            self.stages.append(self._branch(stage, name))
        for name in [config.home] if hub else [config.home, *config.path]:  # in the hub, home runs the first stage
            self._add_positions(name)
        self.post_init()

    def _add_positions(self, name: str) -> None:
        config: HybridConfig = self.config
        if name not in config.components or name in self.positions:
            return
        anatomy = Anatomy(**config.components[name]["anatomy"])
        if anatomy.positions is not None:
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
        start, stop = held["cuts"][stage], held["cuts"][stage + 1]
        hub = config.topology == "hub"
        segment = Segment(own, Anatomy(**held["anatomy"]), start, stop, keep_norm=hub and last)
        if hub:
            return HubBranch(name, segment, stage, own.hidden_size, config.hidden_size, config.projector)
        if name == config.home:
            return HomeBranch(segment, stage)
        return ForeignBranch(name, segment, stage, own.hidden_size, config.hidden_size, config.projector)

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

    def _context(
        self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, cache: HybridCache | None
    ) -> Context:
        """What surrounds this pass. Raises ValueError for what cannot be run, see `forward`."""
        if not isinstance(cache, HybridCache | None):
            raise ValueError(
                f"a hybrid remembers in a HybridCache (model.new_cache()), not in a {type(cache).__name__}"
            )
        past = 0 if cache is None else cache.get_seq_length()
        rows, length = input_ids.shape
        check_mask(attention_mask, rows, past + length)
        if attention_mask is None and cache is not None and cache.padded:
            raise ValueError("this cache holds padding; give the attention_mask of past and new tokens")
        if attention_mask is not None and cache is not None:
            cache.padded = not bool(attention_mask.all())
        interrupted = in_the_way(attention_mask, past, cache is not None)
        meets = cache is not None and (past > 0 or length == 1) and has_padding(attention_mask, past)
        if interrupted and any(segment is not None and segment.windowed for segment in self.segments):
            raise ValueError("padding between tokens would count in this hybrid's sliding windows; pad on the left")
        if position_ids is None:
            position_ids = places(attention_mask, past, length, input_ids.device)
        for name, table in self.positions.items():
            assert isinstance(table, nn.Embedding)
            if past + length > table.num_embeddings <= int(position_ids.max()):
                raise ValueError(
                    f"{past + length} tokens are more than the {table.num_embeddings} positions of '{name}'"
                )
        positions = {name: table(position_ids) for name, table in self.positions.items()}
        caches = [] if cache is None else cache.stages
        return Context(attention_mask, position_ids, positions, caches, interrupted or meets)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HybridCache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the hybrid.

        Args:
            input_ids: (B, L).
            attention_mask: (B, past + L), 1 for tokens, 0 for padding.
            position_ids: (1 or B, L); default: each sequence's own tokens are counted, padding is not.
            past_key_values: what `new_cache` made, with the past in it.
            use_cache: return a cache. Default: only if one was given.

        Raises ValueError for inputs_embeds, another kind of cache, a mask of another shape or missing where the cache
        holds padding, padding between tokens where windows slide, and more tokens than there are absolute positions.
        """
        if input_ids is None:
            raise ValueError("a hybrid reads input_ids; inputs_embeds are not supported")
        config: HybridConfig = self.config
        cache = self.new_cache() if past_key_values is None and use_cache else past_key_values
        context = self._context(input_ids, attention_mask, position_ids, cache)
        hub = config.topology == "hub"
        h_BLD = self.embed(input_ids, None if hub else context.positions.get(config.home))
        h_BLD = fit(h_BLD, config.hidden_size)
        for stage in self.stages:
            h_BLD = stage(h_BLD, context)
        if cache is not None:
            cache.seen += input_ids.shape[1]
        h_BLD = self.norm(fit(h_BLD, self.home_config.hidden_size))
        return BaseModelOutputWithPast(last_hidden_state=h_BLD, past_key_values=cache)


def shell_config(config: PretrainedConfig, vocab_size: int) -> PretrainedConfig:
    """A component's configuration without layers: what is left of its backbone is embedding, positions and norm."""
    shell = slice_config(config, 0, 0)
    shell.vocab_size = vocab_size
    return shell


class HybridForCausalLM(HybridPreTrainedModel, GenerationMixin):
    """A hybrid that predicts the next token, with home's own head."""

    _tied_weights_keys = {"head.weight": "model.embed.tokens.weight"}

    @property
    def _is_stateful(self) -> bool:
        return self.model.stateful  # transformers then refuses what would take tokens back

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        home = self.model.home_config
        bias = bool(config.components[config.home].get("head_bias", False))
        self.head = nn.Linear(home.hidden_size, config.vocab_size, bias=bias)
        self.post_init()

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Generation's memory is ours. Raises ValueError for other kinds, and for prompts padded on the right."""
        mask, asked = model_kwargs.get("attention_mask"), generation_config.cache_implementation
        if mask is not None and not bool(mask[:, -1].all()):
            raise ValueError("a prompt that ends in padding cannot be continued; pad on the left (padding_side='left')")
        if asked not in (None, "dynamic"):
            raise ValueError(f"cache_implementation '{asked}' is not supported: a hybrid remembers in a HybridCache")
        given = model_kwargs.get("past_key_values")
        if not isinstance(given, HybridCache | None):
            raise ValueError(f"past_key_values must be a HybridCache (model.new_cache()), not a {type(given).__name__}")
        if given is None and generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = self.new_cache()

    def new_cache(self) -> HybridCache:
        """An empty cache, to be given as `past_key_values`."""
        return self.model.new_cache()

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.head = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HybridCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V), and with `labels` (B, L; -100 is ignored; shifted inside) the mean loss in nats."""
        out = self.model(input_ids, attention_mask, position_ids, past_key_values, use_cache)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and logits_to_keep else slice(None)
        h_BLD = out.last_hidden_state[:, kept if isinstance(logits_to_keep, int) else logits_to_keep]
        logits_BLV = self.head(h_BLD)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BLV, labels=labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits_BLV, past_key_values=out.past_key_values)


class HybridWithHead(HybridPreTrainedModel):
    """A hybrid with the head its configuration names; one of another class's, or none, means its own first."""

    heads: tuple[str, ...] = ()

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        kind = config.head if config.head in self.heads else self.heads[0]
        self.score = HEADS[kind](self.model.home_config.hidden_size, config.num_labels)
        self.post_init()

    def logits(self, input_ids: Tensor | None, attention_mask: Tensor | None, position_ids: Tensor | None) -> Tensor:
        """What the head says. Without an attention mask, tokens equal to `config.pad_token_id` count as padding."""
        if attention_mask is None and input_ids is not None and self.config.pad_token_id is not None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        h_BLD = self.model(input_ids, needed_mask(attention_mask), position_ids).last_hidden_state
        out: Tensor = self.score(self.score.pick(h_BLD, attention_mask), h_BLD.shape[1])
        return out

    @staticmethod
    def loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Mean cross-entropy in nats over all labels but those of -100."""
        return None if labels is None else F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())


class HybridForSequenceClassification(HybridWithHead):
    """A hybrid that labels a sequence, or two together, by the states of their last tokens."""

    heads = ("classification", "pair")

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
        logits = self.logits(input_ids, attention_mask, position_ids)
        return SequenceClassifierOutputWithPast(loss=self.loss(logits, labels), logits=logits)


class HybridForTokenClassification(HybridWithHead):
    """A hybrid that labels every token: where it stands, or all of them from the state of the last."""

    heads = ("tokens", "autoencoder")

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Logits (B, L, num_labels), and with `labels` (B, L; -100 is ignored, nothing is shifted) the mean loss."""
        logits = self.logits(input_ids, attention_mask, position_ids)
        return TokenClassifierOutput(loss=self.loss(logits, labels), logits=logits)


HybridModel.register_for_auto_class("AutoModel")
HybridForCausalLM.register_for_auto_class("AutoModelForCausalLM")
HybridForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
HybridForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
