"""`manticore generate`: continue texts with a language model, an exported hybrid or any component."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from manticore.components.context_length import check_context_length, declared_context_lengths
from manticore.components.generation import ids_without_token
from manticore.config.generate import SamplingOptions
from manticore.config.model_commands import GenerateCommand
from manticore.config.sections import RunOptions
from manticore.errors import BadFile, ManticoreError, shown
from manticore.experiment.environment import setup_hardware
from manticore.export.load import load_language_model
from manticore.kernels import installed
from manticore.tasks.data_files import read_text
from manticore.tasks.language.documents import invalid_character
from manticore.utils.text_files import parse_json

PROMPT_FIELDS = ("prompt", "text")
"""Fields of a record of JSON that may have the prompt."""


SAVED = ("use_cache", "bos_token_id", "eos_token_id", "pad_token_id")
"""Settings of generation that every model is saved with."""


@dataclass(frozen=True)
class Continuation:
    """A prompt and what a model wrote after it.

    Attributes:
        prompt: the text that was continued.
        text: the new text.
        prompt_tokens, new_tokens: numbers of tokens.
        ended: whether the model ended the text itself; otherwise it reached the largest number of new tokens.
    """

    prompt: str
    text: str
    prompt_tokens: int
    new_tokens: int
    ended: bool

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def run_command(options: GenerateCommand, on_text: Callable[[str], object]) -> None:
    """Read the prompts of a command and continue them.

    Raises as `run` does, and ManticoreError if a file cannot be read, or names the line of a prompt that cannot be
    continued.
    """
    if options.batch is not None:
        prompts = list(read_prompts(options.batch))
        if not prompts:
            raise BadFile(options.batch, "there is no prompt in it")
    else:
        prompts = [read_text(options.prompt_file) if options.prompt_file is not None else str(options.prompt)]
        if not options.json:
            run(options.model, prompts[0], options.sampling, on_text, options.trust_code)
            return
    generator = Generator(options.model, options.sampling.seed, options.trust_code)
    for number, prompt in enumerate(prompts, start=1):
        try:
            result = generator.write(prompt, options.sampling)
        except ManticoreError as error:
            if options.batch is None:
                raise
            raise ManticoreError(f"{options.batch}, prompt {number}: {error}") from None
        line = result.to_json() if options.json else result.text.replace("\\", "\\\\").replace("\n", "\\n")
        on_text(f"{line}\n")


def read_prompts(file: Path) -> Iterator[str]:
    """The prompts of a file: of .jsonl one record a line, of other files one prompt a line; empty lines are left out.

    Raises BadFile.
    """
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        if file.suffix != ".jsonl":
            yield line
            continue
        record = parse_json(line, file, number)
        if not isinstance(record, dict) or not any(isinstance(record.get(name), str) for name in PROMPT_FIELDS):
            raise BadFile(file, f"a record has a text in the field {' or '.join(PROMPT_FIELDS)}", number)
        yield next(str(record[name]) for name in PROMPT_FIELDS if isinstance(record.get(name), str))


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
    Generator(source, options.seed, trust_code).write(prompt, options, on_text)


class Generator:
    """A language model that is loaded once and continues texts.

    Args:
        source: exported folder, run folder, or a component: alias, hub id or local folder.
        seed: seed of the run's hardware settings.
        trust_code: run the code in a hybrid's folder for ops and other parts of its own.

    Attributes:
        model, tokenizer: the model on its device, and its tokenizer.

    Raises as `load_language_model` does.
    """

    def __init__(self, source: str, seed: int = 0, trust_code: bool = False) -> None:
        hardware = setup_hardware(RunOptions(seed=seed))
        self.model: Any
        self.model, self.tokenizer = load_language_model(source, trust_code)
        self.device = torch.device(hardware.device)
        self.model.to(self.device)

    def write(
        self, prompt: str, options: SamplingOptions, on_text: Callable[[str], object] | None = None
    ) -> Continuation:
        """Continue a prompt; see `run`. The same seed gives the same text, whatever was written before."""
        return self.write_ids(encode_prompt(prompt, self.tokenizer), prompt, options, on_text)

    def write_ids(
        self, ids_1L: torch.Tensor, prompt: str, options: SamplingOptions, on_text: Callable[[str], object] | None
    ) -> Continuation:
        """Continue token ids (1, L), which `prompt` describes. Raises ManticoreError if they are too many."""
        length = ids_1L.shape[1]
        _check_length(self.model, length, options.max_new_tokens)
        config = generation_config(options, self.model, self.tokenizer)
        streamer = CallbackStreamer(self.tokenizer, on_text) if on_text and options.num_beams == 1 else None
        torch.manual_seed(options.seed)
        with installed(), _naming_settings(self.model):  # for a component; a hybrid installs the kernels itself
            out_BL = self.model.generate(input_ids=ids_1L.to(self.device), generation_config=config, streamer=streamer)
        new = out_BL[0, length:].tolist()
        text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        if on_text is not None and streamer is None:
            on_text(text)
        return Continuation(prompt, text, length, len(new), bool(new) and new[-1] in (config.eos_token_id or ()))


@contextmanager
def _naming_settings(model: PreTrainedModel) -> Iterator[None]:
    """Name the settings of generation in a model's folder, if there are any, in errors that they may have caused."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        settings, defaults = vars(model.generation_config or GenerationConfig()), vars(GenerationConfig())
        saved = [name for name in defaults if name not in (*SAVED, "transformers_version", "_from_model_config")]
        names = [name for name in saved if settings.get(name) not in (None, False, defaults[name])]
        if not names:
            raise
        reason = " ".join(str(error).split())[:120]
        raise ManticoreError(
            f"the model cannot generate with the settings in its folder, {', '.join(names)} ({reason})"
        ) from error


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
    ends = list(end) if isinstance(end, list | tuple) else [] if end is None else [end]
    pad = next((token for token in (defaults.pad_token_id, tokenizer.pad_token_id, *ends) if token is not None), 0)
    if not all(type(token) is int for token in (*ends, pad)):
        raise ManticoreError(f"eos_token_id and pad_token_id of the model must be token ids, got {shown([*ends, pad])}")
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
