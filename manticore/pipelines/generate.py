"""Let a language model go on with a text: an exported hybrid, or any component. Knows nothing of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from manticore.components.context_length import check_context_length, declared_context_lengths
from manticore.components.loading import load
from manticore.components.spec import ComponentSpec
from manticore.components.tokenizers import check_vocab_size, read_tokenizer
from manticore.config.generate import SamplingOptions
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import RunDir
from manticore.export.load import holds_hybrid, kind_of, read_hybrid
from manticore.tasks.language.documents import invalid_character


class CallbackStreamer(TextStreamer):
    """Hands on each piece of text as soon as it is certain."""

    def __init__(self, words: PreTrainedTokenizerBase, tell: Callable[[str], object]) -> None:
        super().__init__(words, skip_prompt=True, skip_special_tokens=True)
        self.tell = tell

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """See transformers: the next piece."""
        self.tell(text)


def run(source: str, prompt: str, drawing: SamplingOptions, tell: Callable[[str], object]) -> None:
    """Go on with `prompt`, and `tell` the new text piece by piece; by beam search, all at once.

    Args:
        source: folder of an exported hybrid, run folder, or what a component is called (alias, hub id, folder).
        prompt: the text to go on with.
        drawing: how tokens are chosen.
        tell: called with each piece of new text.

    Raises ManticoreError if there is no such model, it is no language model, has no tokenizer or another model's, or
    the prompt is empty or, with the new tokens, longer than its components have positions for.
    """
    machine = setup_hardware(RunOptions(seed=drawing.seed))
    model, words = read_model(source)
    ids_1L = prompt_ids(prompt, model, words)
    prompt_tokens, new_tokens = ids_1L.shape[1], drawing.max_new_tokens
    advice = f"shorten the prompt ({prompt_tokens:,} tokens) or --max-new-tokens ({new_tokens:,})"
    check_context_length(declared_context_lengths(model.config), prompt_tokens + new_tokens, "a text", advice)
    model.to(machine.device)
    given: dict[str, Any] = {
        "input_ids": ids_1L.to(machine.device),
        "generation_config": generation_config(drawing, model, words),
    }
    torch.manual_seed(drawing.seed)
    if drawing.num_beams == 1:
        model.generate(**given, streamer=CallbackStreamer(words, tell))
        return
    out_BL = model.generate(**given)
    tell(str(words.decode(out_BL[0, ids_1L.shape[1] :], skip_special_tokens=True)))


def generation_config(
    options: SamplingOptions, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """The options as transformers takes them, with the model's own end-of-text tokens."""
    own = model.generation_config or GenerationConfig()
    end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    ends = [end] if isinstance(end, int) else list(end or [])
    pad = next((token for token in (own.pad_token_id, tokenizer.pad_token_id, *ends) if token is not None), 0)
    sampling = {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    chosen = {name: value for name, value in sampling.items() if value is not None}
    return GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        num_beams=options.num_beams,
        eos_token_id=ends or None,
        pad_token_id=pad,
        do_sample=bool(chosen),
        **({"temperature": 1.0, "top_p": 1.0, "top_k": 0} | chosen if chosen else {}),
    )


def read_model(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model and its tokenizer. Raises ManticoreError where one of them is not there."""
    place = Path(source).expanduser()
    model: PreTrainedModel
    if holds_hybrid(place):
        model = read_hybrid(place)
        if not model.can_generate():
            raise ManticoreError(
                f"{source} answers with labels (kind '{kind_of(model)}'); only a language model goes on"
            )
        folder = RunDir(place).hybrid if holds_hybrid(RunDir(place).hybrid) else place
        words = read_tokenizer(str(folder), {"local_files_only": True})
    elif place.is_dir() and not (place / "config.json").exists():
        raise ManticoreError(f"{source} holds no hybrid and no other model: there is no config.json in it")
    else:
        component = load(ComponentSpec(source, init="pretrained"))
        model, words = component.model, component.tokenizer
    if words is None:
        raise ManticoreError(f"{source} has no tokenizer: text cannot be read without one")
    check_vocab_size(words, model.get_input_embeddings().weight.shape[0], source)
    return model, words


def prompt_ids(prompt: str, model: PreTrainedModel, words: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token ids (1, L) of a prompt, without an end of text that was added. Raises ManticoreError if there are none."""
    if wrong := invalid_character(prompt):
        raise ManticoreError(f"the prompt {wrong}")
    if not prompt:
        raise ManticoreError("the prompt is empty: give some text to go on with")
    ids = list(words(prompt)["input_ids"])
    if ids and ids[-1] == words.eos_token_id and words(prompt, add_special_tokens=False)["input_ids"][-1:] != ids[-1:]:
        ids.pop()
    if not ids:
        raise ManticoreError("the prompt has no tokens: its tokenizer makes nothing of this text")
    return torch.tensor([ids])
