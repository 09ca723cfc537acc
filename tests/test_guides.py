"""Law 9: commands with an error beside them end with that error, and commands of some guides run at toy sizes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from huggingface_hub import constants

from manticore.cli import main
from tests.helpers.cli import call
from tests.helpers.trained_tokenizers import sample
from tests.test_readme import TEXTS, blocks_of, commands_in
from tests.test_readme_commands import STUDY, TOY, settings

ERRORS = [
    pair
    for page in ("docs/faq.md", "docs/guides/costs.md")
    for pair in re.findall(r"^```sh\n([^`]*?)^```\n\n```text\n([^`]*?)^```", TEXTS[page], re.MULTILINE)
]


@pytest.mark.parametrize(("command", "shown"), ERRORS, ids=[command.strip()[10:60] for command, _ in ERRORS])
def test_pages_show_the_error_of_their_command(
    command: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    status, _, err = call(capsys, *shlex.split(command)[1:])
    assert status == 2
    start, more, _ = " ".join(shown.split()).partition(" ...")
    assert err.startswith(start) if more else err.strip() == start
    assert not any(tmp_path.glob("runs/*"))


GUIDES = ("my-budget", "when-not-to-search")
EVALUATION = ["--examples", "2"]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_run(
    guide: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-notes").mkdir()
    for number in range(3):
        texts = "\n<|endoftext|>\n".join(sample()[20 * number : 20 * number + 12])
        Path("my-notes", f"{number}.txt").write_text(texts, encoding="utf-8")
    page = f"docs/guides/{guide}.md"
    commands = [
        command
        for block in blocks_of(page, TEXTS[page])
        if block.language == "sh"
        for command in commands_in(block.text)
    ]
    assert commands
    for command in commands:
        small = list(TOY["search text"]) if command[0] == "search" else []
        if command[0] == "compare":
            small = [*STUDY, *settings("task.train=16", "task.val=2", "task.test=2", "align.tokens=2000")]
            small += ["--baselines", "components", "--budgets", "tokens"]
        if command[0] == "evaluate":
            small = EVALUATION if "--generation" in command else settings("task.test=2")
        status = main([*command, *small])
        assert status == 0, f"manticore {shlex.join(command)}: {capsys.readouterr().err}"
