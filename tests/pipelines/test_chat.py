"""`manticore chat` keeps the conversation, follows the template, leaves out what does not fit, and survives errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from manticore.config.generate import SamplingOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.pipelines.chat import Chat
from manticore.pipelines.generate import Generator
from tests.helpers.cli import call
from tests.helpers.text_hybrids import LENGTH, export_hybrid

TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
GREEDY = SamplingOptions(max_new_tokens=6)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_hybrid(tmp_path_factory.mktemp("chat") / "hybrid")


@pytest.fixture(scope="module")
def generator(hybrid: Path) -> Generator:
    return Generator(str(hybrid))


@pytest.fixture
def chat(generator: Generator) -> Chat:
    generator.tokenizer.chat_template = None
    return Chat(generator, GREEDY)


def ignore(text: str) -> None:
    """Nothing."""


def test_without_a_template_the_text_goes_on(chat: Chat, generator: Generator) -> None:
    pieces: list[str] = []
    first = chat.reply("It is a truth", pieces.append)
    assert "".join(pieces) == first.text == generator.write("It is a truth", GREEDY).text
    second = chat.reply("a single man", ignore)
    whole = [*generator.tokenizer("It is a truth")["input_ids"]]
    for part in (first.text, "\na single man"):
        whole += generator.tokenizer(part, add_special_tokens=False)["input_ids"]
    assert second.prompt_tokens == len(whole)
    assert chat.ids[: len(whole)] == whole
    chat.reset()
    assert chat.reply("It is a truth", ignore) == first


def test_a_template_writes_the_turns(chat: Chat, generator: Generator) -> None:
    generator.tokenizer.chat_template = TEMPLATE
    first = chat.reply("It is", ignore)
    text = "user: It is\nassistant: "
    assert first.prompt_tokens == len(generator.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert first.text == generator.write(text, GREEDY).text
    chat.reply("a truth", ignore)
    assert [turn["role"] for turn in chat.turns] == ["user", "assistant"] * 2


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_the_oldest_part_is_left_out_when_the_context_is_full(
    chat: Chat, generator: Generator, template: str | None
) -> None:
    generator.tokenizer.chat_template = template
    lengths, forgotten = [], []
    for _ in range(4):
        lengths.append(chat.reply("It is a truth", ignore).prompt_tokens)
        forgotten.append(chat.forgotten)
    assert max(lengths) <= LENGTH - GREEDY.max_new_tokens
    assert forgotten[0] == 0
    assert forgotten[-1] > 0


def test_a_turn_that_is_too_long_is_refused_and_forgotten(chat: Chat) -> None:
    first = chat.reply("It is a truth", ignore)
    before = list(chat.ids)
    with pytest.raises(ManticoreError, match="shorten the prompt"):
        chat.reply("truth " * LENGTH, ignore)
    assert chat.ids == before
    assert first.new_tokens == 6


def test_params_are_checked_and_change_the_reply(chat: Chat) -> None:
    chat.set_params(["max_new_tokens=3", "temperature=1", "seed=4"])
    assert chat.options == SamplingOptions(max_new_tokens=3, temperature=1.0, seed=4)
    assert chat.reply("It is", ignore).new_tokens == 3
    chat.set_params(["temperature=none"])
    assert chat.options.temperature is None
    with pytest.raises(UnknownName, match="Did you mean 'temperature'"):
        chat.set_params(["temprature=1"])
    with pytest.raises(ManticoreError, match="top_p must be a number above 0"):
        chat.set_params(["seed=5", "top_p=2"])
    assert chat.options.seed == 4


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_the_command_talks_and_goes_on_after_errors(
    capsys: pytest.CaptureFixture[str], hybrid: Path, typed: Callable[[str], None]
) -> None:
    lines = ["It is", "", "/params max_new_tokens=2 temperature=none top_p=none", "/resett", "/reset", "It is", "/quit"]
    typed("\n".join([*lines, "never read"]))
    status, out, err = call(capsys, "chat", hybrid, "--max-new-tokens", "2", "--seed", "1")
    assert (status, err) == (0, "")
    printed = out.splitlines()
    assert printed[0] == f"{hybrid}: no chat template: the model continues your text. /help lists commands."
    assert "max_new_tokens=2 temperature=none top_p=none top_k=none num_beams=1 seed=1" in printed
    assert "error: unknown command '/resett'. Did you mean '/reset'?" in out
    assert "forgotten" in printed
    typed("It is\n")
    assert call(capsys, "chat", hybrid, "--max-new-tokens", "2")[0] == 0
