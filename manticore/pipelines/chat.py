"""`manticore chat`: a conversation with a language model in the terminal.

With a chat template of the tokenizer, turns are written as the template has them. Without one the conversation is one
text: what the user types is appended, and the model continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from transformers import BatchEncoding

from manticore.components.context_length import declared_context_lengths
from manticore.config.generate import SamplingOptions
from manticore.config.model_commands import ChatCommand
from manticore.errors import ManticoreError, UnknownName
from manticore.pipelines.generate import Continuation, Generator, encode_prompt
from manticore.utils.fields import convert, field_types
from manticore.utils.yaml_loading import load_yaml

HELP = """\
/reset            forget the conversation
/params           show how tokens are chosen
/params KEY=VALUE change it, such as /params temperature=0.8 max_new_tokens=200; KEY=none unsets a key
/help             this list
/quit             end (as does the end of the input)"""


class Chat:
    """A conversation.

    Args:
        generator: the model.
        options: how tokens are chosen.

    Attributes:
        options: how tokens are chosen, which `/params` changes.
        turns: of a chat with a template, its messages with `role` and `content`.
        ids: of a chat without a template, the token ids so far.
        forgotten: number of turns or tokens that the last reply had to leave out, the oldest first, because the context
            of the model is full.
    """

    def __init__(self, generator: Generator, options: SamplingOptions) -> None:
        self.generator = generator
        self.options = options
        self.turns: list[dict[str, str]] = []
        self.ids: list[int] = []
        self.forgotten = 0

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.generator.tokenizer, "chat_template", None))

    def reset(self) -> None:
        """Forget the conversation."""
        self.turns, self.ids = [], []

    def set_params(self, assignments: list[str]) -> None:
        """Change how tokens are chosen, by `KEY=VALUE`.

        Raises UnknownName for a key that does not exist, and ManticoreError for a wrong value; nothing is changed then.
        """
        hints, changed = field_types(SamplingOptions), {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise ManticoreError(f"/params takes KEY=VALUE, such as temperature=0.8, not {assignment}")
            if key not in hints or key == "num_beams":  # beams cannot be streamed
                raise UnknownName("parameter", key, set(hints) - {"num_beams"})
            changed[key] = convert(None if text == "none" else load_yaml(text), hints[key], key)
        self.options = replace(self.options, **changed)

    def reply(self, text: str, on_text: Callable[[str], object]) -> Continuation:
        """The model's next turn after the user's.

        Args:
            text: what the user says.
            on_text: called with each piece of the reply.

        Raises ManticoreError if the turn has no tokens, or is longer than the context by itself; it is forgotten then.
        """
        self.forgotten = 0
        ids = self._ids_of_turns(text) if self.has_template else self._ids_of_text(text)
        result = self.generator.write_ids(torch.tensor([ids]), text, self.options, on_text)
        if self.has_template:
            self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": result.text}]
        else:
            self.ids = [*ids, *self.generator.tokenizer(result.text, add_special_tokens=False)["input_ids"]]
        return result

    def _room(self) -> int | None:
        """Largest number of tokens before the reply; None without a limit."""
        limits = declared_context_lengths(self.generator.model.config)
        return min(limits.values()) - self.options.max_new_tokens if limits else None

    def _ids_of_turns(self, text: str) -> list[int]:
        """Token ids of the conversation with a new turn, by the template; the oldest turns are left out if too many."""
        turns, room = [*self.turns, {"role": "user", "content": text}], self._room()
        while True:
            encoded: Any = self.generator.tokenizer.apply_chat_template(turns, add_generation_prompt=True)
            ids = list(encoded["input_ids"] if isinstance(encoded, dict | BatchEncoding) else encoded)
            if room is None or len(ids) <= room or len(turns) == 1:
                return ids
            turns = turns[2:]
            self.turns = self.turns[2:]
            self.forgotten += 2

    def _ids_of_text(self, text: str) -> list[int]:
        """Token ids of the text so far with a new piece; the oldest tokens are left out if there are too many."""
        if self.ids:
            new = list(self.generator.tokenizer(f"\n{text}", add_special_tokens=False)["input_ids"])
        else:
            new = encode_prompt(text, self.generator.tokenizer)[0].tolist()
        ids, room = [*self.ids, *new], self._room()
        if room is not None and len(ids) > room >= len(new):
            self.forgotten = len(ids) - room
            ids = ids[self.forgotten :]
        return ids


def run(options: ChatCommand, read: Callable[[], str | None], write: Callable[[str], object]) -> None:
    """Talk until the input ends.

    Args:
        options: model and sampling.
        read: returns the next line of the user, None at the end.
        write: prints text as it is.

    Raises as `Generator` does. Errors of a turn are printed, and the conversation goes on.
    """
    chat = Chat(Generator(options.model, options.sampling.seed, options.trust_code), options.sampling)
    kind = "chat template of the tokenizer" if chat.has_template else "no chat template: the model continues your text"
    write(f"{options.model}: {kind}. /help lists commands.\n")
    while (line := read()) is not None:
        if not line.strip():
            continue
        try:
            if line.startswith("/"):
                if line.split()[0] == "/quit":
                    return
                write(f"{_command(chat, line)}\n")
                continue
            chat.reply(line, write)
            write("\n")
            if chat.forgotten:
                unit = "turns" if chat.has_template else "tokens"
                write(f"[the context is full: the first {chat.forgotten} {unit} were left out]\n")
        except KeyboardInterrupt:
            write("\n[interrupted; the turn is forgotten]\n")
        except ManticoreError as error:
            write(f"error: {error}\n")


def _command(chat: Chat, line: str) -> str:
    """Carry out a line that starts with a slash; returns what is printed."""
    name, *rest = line.split()
    if name == "/reset":
        chat.reset()
        return "forgotten"
    if name == "/params":
        chat.set_params(rest)
        return " ".join(f"{key}={'none' if value is None else value}" for key, value in asdict(chat.options).items())
    if name == "/help":
        return HELP
    raise UnknownName("command", name, ("/reset", "/params", "/help", "/quit"))
