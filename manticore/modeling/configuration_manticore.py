"""The configuration of a hybrid: which component runs which stage. Knows no weights."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig


class HybridConfig(PretrainedConfig):
    """Everything needed to rebuild a discrete hybrid.

    Args:
        components: for each component on the path, and for base, by name: `config` (its own Hugging Face configuration
            as a dictionary), `layout` (the fields of `Anatomy`), `cuts` (S + 1 layer boundaries) and, for the record,
            `source` and `revision`.
        base: name of the component that lends embedding, residual stream, final norm and head.
        path: name of the component, or `skip`, for each of the S stages.
        topology: `residual` (a donor stage adds its translated update) or `hub` (the paper's wiring at a one-hot
            alpha: features are cut or zero-padded to fit).
        projector: kind and options of the translators at donor stages; `bypass` is true where base's stream has a
            linear way around them.
        hidden_size: width of the stream: base's in the residual topology, the widest component's in the hub's.
        vocab_size: number of token ids.
        head: how labels are told, a name in `heads.py`; None for next-token prediction, and in checkpoints made before
            there was a choice.
        pad_token_id, bos_token_id, eos_token_id: special token ids, where there are any.
        tie_word_embeddings: the next-token head is the embedding.
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
        **kwargs: Any,
    ) -> None:
        self.components = components or {}
        self.base = base
        self.path = list(path or [])
        self.topology = topology
        self.projector = projector or {"kind": "linear"}
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
        self.head = head
        self.num_hidden_layers = sum(self.layers_of(stage) for stage in range(len(self.path)))
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.tie_word_embeddings = tie_word_embeddings
        super().__init__(**kwargs)

    def layers_of(self, stage: int) -> int:
        """Number of layers that stage `stage` (from 0) runs."""
        held = self.components.get(self.path[stage])
        return 0 if held is None else held["layer_boundaries"][stage + 1] - held["layer_boundaries"][stage]

    @property
    def positions(self) -> dict[str, int]:
        """By component, the number of positions it knows; recurrent ones know any number and are not named."""
        known = {name: getattr(self.component(name), "max_position_embeddings", None) for name in self.components}
        return {name: count for name, count in known.items() if count is not None}

    @property
    def max_position_embeddings(self) -> int:
        """The longest text all components have positions for. Raises AttributeError if there is no limit."""
        if not self.positions:
            raise AttributeError("recurrent components set no limit to the length of a text")
        return min(self.positions.values())

    def component(self, name: str) -> PretrainedConfig:
        """The component's own configuration as an object of its own class."""
        held = dict(self.components[name]["config"])
        return AutoConfig.for_model(held.pop("model_type"), **held)


HybridConfig.register_for_auto_class()
