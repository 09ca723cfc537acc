"""What a new user types first: nothing, and `quickstart` with a folder of texts."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from manticore.cli import main, parser
from manticore.config.loading import load_command
from manticore.config.tool_commands import QuickstartCommand
from manticore.errors import ManticoreError
from tests.helpers.cli import call, refusal
from tests.helpers.trained_tokenizers import sample


def test_without_a_command_the_first_commands_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys)
    assert (status, err) == (0, "")
    commands = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  manticore ")]
    assert commands[0] == "manticore quickstart my-texts"
    for command in commands:
        if "--help" not in command:
            parser().parse_args(shlex.split(command)[1:])


def test_quickstart_is_a_search_with_its_recipe(tmp_path: Path) -> None:
    options = QuickstartCommand(folder=tmp_path, overrides=("finetune.steps=7",)).search(tmp_path / "run")
    recipe = load_command(options).recipe
    assert (recipe.task.name, recipe.task.data_dir) == ("text", str(tmp_path))
    assert recipe.space.names == ("gpt-neo-nano", "mamba-nano")
    assert (recipe.finetune.steps, recipe.search.strategy) == (7, "zero-shot")
    assert not recipe.baselines.uniform


def test_a_missing_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert f"no such file or folder of text: {tmp_path / 'none'}" in refusal(capsys, "quickstart", tmp_path / "none")
    with pytest.raises(ManticoreError, match="no such file"):
        QuickstartCommand(folder=tmp_path / "none")


@pytest.mark.e2e
@pytest.mark.slow
def test_quickstart_makes_a_hybrid_and_says_what_to_type_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my notes").mkdir()
    for number in range(3):
        texts = "\n<|endoftext|>\n".join(sample()[20 * number : 20 * number + 12])
        Path("my notes", f"{number}.md").write_text(texts, encoding="utf-8")
    few = ["search.batch_size=4", "finetune.steps=2", "finetune.batch_size=4", "align.tokens=600"]
    few += ["task.val=2", "task.test=2"]
    assert main(["quickstart", "my notes", *(word for key in few for word in ("--set", key))]) == 0
    out = capsys.readouterr().out
    assert Path("runs/quickstart/hybrid/model.safetensors").is_file()
    assert Path("runs/quickstart/report.html").is_file()
    following = out.split("next:\n")[1].splitlines()
    assert "--data-dir 'my notes'" in following[-1]
    for line in following:
        parser().parse_args(shlex.split(line)[1:])
    assert main([*shlex.split(following[0])[1:], "--max-new-tokens", "3"]) == 0
