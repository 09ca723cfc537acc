"""`manticore generate`: continue a text with a language model, an exported hybrid or any component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from manticore.components.context_length import check_context_length, declared_context_lengths
from manticore.components.generation import ids_without_token
from manticore.config.commands import GenerateCommand
from manticore.config.generate import SamplingOptions
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_language_model
from manticore.kernels import installed
from manticore.tasks.data_files import read_text
from manticore.tasks.language.documents import invalid_character


def run_command(options: GenerateCommand, on_text: Callable[[str], object]) -> None:
    """Read the prompt of a command and continue it. Raises as `run` does, and if the file cannot be read."""
    prompt = read_text(options.prompt_file) if options.prompt_file is not None else str(options.prompt)
    run(options.model, prompt, options.sampling, on_text, options.trust_code)


def run(
    source: str, prompt: str, options: SamplingOptions, on_text: Callable[[str], object], trust_code: bool = False
) -> None:
    """Continue a prompt.

    Args:
        source: exported folder, run folder, or a component: alias, hub id or local folder.
        prompt: the text to continue.
        options: length and sampling.
        on_text: called with each piece of new text; once, with all of it, by beam search.
        trust_code: run the code in a hybrid's folder for ops and other parts of its own.

    Raises ManticoreError if the model cannot be loaded (see `load_language_model`), the prompt has no tokens, or prompt
    and new tokens exceed the context length.
    """
    hardware = setup_hardware(RunOptions(seed=options.seed))
    model, tokenizer = load_language_model(source, trust_code)
    ids_1L = encode_prompt(prompt, tokenizer)
    _check_length(model, ids_1L.shape[1], options.max_new_tokens)
    model.to(hardware.device)
    arguments: dict[str, Any] = {
        "input_ids": ids_1L.to(hardware.device),
        "generation_config": generation_config(options, model, tokenizer),
    }
    torch.manual_seed(options.seed)
    with installed():  # for a component; a hybrid installs the kernels itself
        if options.num_beams == 1:
            model.generate(**arguments, streamer=CallbackStreamer(tokenizer, on_text))
            return
        out_BL = model.generate(**arguments)
    on_text(str(tokenizer.decode(out_BL[0, ids_1L.shape[1] :], skip_special_tokens=True)))


class CallbackStreamer(TextStreamer):
    """Calls a function with each piece of text as soon as later tokens cannot change it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], object]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Pass the next piece on; called by transformers."""
        self.on_text(text)


def encode_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token ids (1, L) of a prompt, without the end-of-text token that some tokenizers append.

    Raises ManticoreError if the prompt is empty, is no valid text, or has no tokens.
    """
    if problem := invalid_character(prompt):
        raise ManticoreError(f"the prompt {problem}")
    if not prompt:
        raise ManticoreError("the prompt is empty; give some text to continue")
    ids = list(tokenizer(prompt)["input_ids"])
    plain_ids = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id and plain_ids[-1:] != ids[-1:]:
        ids.pop()
    if not ids:
        raise ManticoreError("the prompt has no tokens: the tokenizer encodes this text as nothing")
    return torch.tensor([ids])


def generation_config(
    options: SamplingOptions, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> GenerationConfig:
    """The options as a `GenerationConfig`, with the end-of-text tokens of the model, or else of the tokenizer.

    Ids without a token are suppressed.
    """
    defaults = model.generation_config or GenerationConfig()
    end = defaults.eos_token_id if defaults.eos_token_id is not None else tokenizer.eos_token_id
    ends = [end] if isinstance(end, int) else list(end or [])
    pad = next((token for token in (defaults.pad_token_id, tokenizer.pad_token_id, *ends) if token is not None), 0)
    sampling = {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    unused = ids_without_token(tokenizer, model.get_input_embeddings().weight.shape[0])
    chosen = {name: value for name, value in sampling.items() if value is not None}
    return GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        num_beams=options.num_beams,
        eos_token_id=ends or None,
        pad_token_id=pad,
        do_sample=bool(chosen),
        suppress_tokens=sorted({*(defaults.suppress_tokens or []), *unused}) or None,
        **({"temperature": 1.0, "top_p": 1.0, "top_k": 0} | chosen if chosen else {}),
    )


def _check_length(model: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
    advice = f"shorten the prompt ({prompt_tokens:,} tokens) or --max-new-tokens ({new_tokens:,})"
    check_context_length(declared_context_lengths(model.config), prompt_tokens + new_tokens, "a text", advice)
