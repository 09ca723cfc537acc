"""How a component generates text: its generation config, which every hybrid on its stream keeps."""

from __future__ import annotations

from copy import deepcopy

from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from manticore.components.component import Component

SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def generation_config_of(component: Component, config: PretrainedConfig) -> GenerationConfig:
    """The generation config of a component (end tokens, penalties, lengths), for a model on its stream.

    Ids without a token are suppressed: embedding tables often have more rows than the tokenizer has tokens.

    Args:
        component: the base model.
        config: of the model, with the special tokens that the component's generation config does not name.
    """
    source = component.model.generation_config or GenerationConfig.from_model_config(component.config)
    generation = deepcopy(source)
    for name in SPECIAL_TOKENS:
        if getattr(generation, name, None) is None:
            setattr(generation, name, getattr(config, name, None))
    if component.tokenizer is not None:
        unused = ids_without_token(component.tokenizer, component.model.get_input_embeddings().num_embeddings)
        generation.suppress_tokens = sorted({*(generation.suppress_tokens or []), *unused}) or None
    return _valid(generation)


def _valid(generation: GenerationConfig) -> GenerationConfig:
    """The config without the options that transformers refuses to save, such as a temperature without sampling.

    They have no effect in its own generation. Raises ValueError for options that contradict each other.
    """
    try:
        generation.validate(strict=True)
    except ValueError as error:
        for name in vars(generation):
            if f"- `{name}`:" in str(error):
                setattr(generation, name, None)
        generation.validate(strict=True)
    return generation


def ids_without_token(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """The ids of an embedding table with `rows` rows that stand for no token, ascending."""
    return sorted({*range(rows)} - {*tokenizer.get_vocab().values()})
