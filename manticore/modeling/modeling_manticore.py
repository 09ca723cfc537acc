"""Hybrids with heads as Hugging Face models: three classes on one backbone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils import can_return_tuple

from .backbone import HybridModel, HybridPreTrainedModel
from .configuration_manticore import HybridConfig
from .forward_context import reject_kwargs
from .generation import HybridGenerationMixin
from .heads import build_head, head_class
from .label_loss import label_loss
from .masking import needed_mask
from .packing import MARKERS
from .scaling import LogitScale
from .segments import BackboneLayout

LOSS_ARGUMENTS = ("num_items_in_batch", "shift_labels", "ignore_index")
"""Keyword arguments of transformers' next-token loss."""


class HybridForCausalLM(HybridGenerationMixin, HybridPreTrainedModel, GenerationMixin):
    """A hybrid that predicts the next token with the base's own head."""

    _tied_weights_keys = {"lm_head.weight": "model.embed.tokens.weight"}

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self.model = HybridModel(config)
        record, base_config = config.components[config.base], self.model.base_config
        bias = bool(record.get("head_bias", False))
        self.lm_head = nn.Linear(base_config.hidden_size, config.vocab_size, bias=bias)
        self.logit_scale = LogitScale.of(base_config, BackboneLayout(**record["layout"]))
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

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
            labels: (B, L), -100 where there is no label. They are shifted here: pass the input ids. The first token of
                a packed document is no label, because the token before it is of another document.
            logits_to_keep: compute logits of the last n tokens (0: of all), or of these positions.
            kwargs: those of `HybridModel.forward`, and those of transformers' loss, `num_items_in_batch` (which Trainer
                passes: the loss is the sum divided by it, instead of the mean), `shift_labels` and `ignore_index`.

        Returns:
            Logits (B, L, V), the loss, the cache and the hidden states.
        """
        self._check_tied_adapters()
        loss_kwargs = {name: kwargs.pop(name) for name in LOSS_ARGUMENTS if name in kwargs}
        out = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            use_cache,
            output_hidden_states,
            inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        positions: Tensor | slice = (
            slice(-logits_to_keep or None, None) if isinstance(logits_to_keep, int) else logits_to_keep
        )
        logits_BLV = self.logit_scale(self.lm_head(out.last_hidden_state[:, positions]))
        loss = None
        if labels is not None and out.document_starts is not None:
            labels = labels.masked_fill(out.document_starts, loss_kwargs.get("ignore_index", -100))
        if labels is not None or loss_kwargs.get("shift_labels") is not None:
            vocab_size = self.config.vocab_size
            loss = self.loss_function(logits=logits_BLV, labels=labels, vocab_size=vocab_size, **loss_kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits_BLV, past_key_values=out.past_key_values, hidden_states=out.hidden_states
        )

    def _check_tied_adapters(self) -> None:
        """Raises ValueError for an adapter on one of embedding and head where both have one weight."""
        modules: tuple[Any, ...] = (self.lm_head, self.model.embed.tokens)
        weights = [getattr(module, "base_layer", module).weight for module in modules]
        if weights[0] is weights[1] and any(hasattr(module, "base_layer") for module in modules):
            raise ValueError(
                "the head of this hybrid is its embedding: an adapter on one of them would change both when it is "
                "merged, so leave 'lm_head' and 'tokens' out of target_modules"
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
        **kwargs: Any,
    ) -> Tensor:
        """Logits of the head. Without an attention mask, tokens equal to `config.pad_token_id` are padding.

        Raises ValueError as `HybridModel.forward` does, and for packed documents where the head does not read the
        state of every token.
        """
        if attention_mask is None and input_ids is not None and self.config.pad_token_id is not None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        # Positions of padding are not those of documents, so the model needs to know it.
        mask = attention_mask if position_ids is not None or not self.model.causal else needed_mask(attention_mask)
        options = {**kwargs, "use_cache": False, "return_dict": True}
        out = self.model(input_ids, mask, position_ids, inputs_embeds=inputs_embeds, **options)
        h_BLD = out.last_hidden_state
        states = self.score.select_states(h_BLD, attention_mask)
        if states.shape != h_BLD.shape and out.document_starts is not None:
            raise ValueError("this head reads one state for each row: pass one document in each row, not packed")
        logits: Tensor = self.score(states, h_BLD.shape[1])
        return logits

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """The mean loss of the problem type (`label_loss`); None without labels."""
        return None if labels is None else label_loss(self.config, logits, labels, self.per_token)


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
        """Logits (B, num_labels), and the mean loss with `labels` (B,), or (B, num_labels) of several labels or values.

        For pairs, `input_ids` is (2B, L): all first sequences, then all second ones.
        """
        reject_kwargs(kwargs, *MARKERS)
        logits = self.logits(input_ids, attention_mask, position_ids, inputs_embeds, **kwargs)
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
        reject_kwargs(kwargs, *MARKERS)
        logits = self.logits(input_ids, attention_mask, position_ids, inputs_embeds, **kwargs)
        return TokenClassifierOutput(loss=self.loss(logits, labels), logits=logits)


def model_class_of(head: str | None) -> type[HybridPreTrainedModel]:
    """The Hugging Face class of hybrids with this head type; None and `lm` are next-token prediction."""
    if head in (None, "lm"):
        return HybridForCausalLM
    return HybridForTokenClassification if head_class(str(head)).per_token else HybridForSequenceClassification


HybridModel.__module__ = __name__  # transformers copies the module of the class it saves, so that heads are with it
HybridForCausalLM.register_for_auto_class("AutoModelForCausalLM")
HybridForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
HybridForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
