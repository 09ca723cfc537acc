"""Completion offers commands, flags, choices, and names of models, tasks, recipes and recipe keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.cli import COMMANDS, parser
from manticore.cli.completion import SCRIPTS, candidates
from manticore.nas.strategies import strategies
from manticore.utils import assets
from tests.helpers.cli import call, refusal


def complete(*words: str) -> list[str]:
    return candidates(parser(), list(words))


def test_commands_and_flags() -> None:
    assert complete("sea") == ["search"]
    assert set(COMMANDS) - {"assets"} | {"ls", "show", "cp", "validate", "schema"} <= set(complete(""))
    assert complete("search", "--mo") == ["--models"]
    assert "--json" in complete("evaluate", "runs/first", "--")
    assert complete("nothing", "--") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["search", "--preset", ""], ["auto", "cpu", "paper"]),
        (["search", "--models", "gpt-neo,mamba-"], ["gpt-neo,mamba-nano"]),
        (["search", "--models", "mamba,mamb"], ["mamba,mamba-nano", "mamba,mamba2"]),
        (["compare", "--budgets", "tokens,"], ["tokens,flops"]),
        (["compare", "--task", "mad-noi"], ["mad-noisy-recall"]),
        (["search", "--config", "search/te"], ["search/text"]),
        (["search", "--space", "pythia"], ["pythia+mamba"]),
        (["search", "--topology", "h"], ["hub"]),
        (["search", "--set", "search.alphas.l"], ["search.alphas.lr="]),
        (["show", "rec"], ["recipe"]),
        (["ls", "m"], ["models"]),
        (["generate", "mamba-"], ["mamba-nano"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_values(words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


@pytest.mark.parametrize("words", [["search", "--out", ""], ["search", "--data-dir", "a"], ["evaluate", "--json", ""]])
def test_file_names_are_left_to_the_shell(words: list[str]) -> None:
    assert complete(*words) == []


def test_strategies_are_all_that_are_built_in() -> None:
    assert {"darts", "gaea", "halving"} <= set(complete("search", "--strategy", "")) <= set(strategies)


def test_the_command_prints_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, script in SCRIPTS.items():
        assert call(capsys, "completion", shell) == (0, script, "")
    assert "Known: bash, fish, zsh" in refusal(capsys, "completion", "tcsh")


@pytest.mark.e2e
@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_works_in_the_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "manticore"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m manticore.cli "$@"\n')
    program.chmod(0o755)
    script = {
        "bash": "COMP_WORDS=(manticore ls proj); COMP_CWORD=2; _manticore; printf '%s\\n' \"${COMPREPLY[@]}\"",
        "zsh": "COMP_WORDS=(manticore ls proj); COMP_CWORD=2; _manticore; printf '%s\\n' $COMPREPLY",
        "fish": "complete -C 'manticore ls proj'",
    }[shell]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    process = subprocess.run(
        [shell, "-c", f"{SCRIPTS[shell]}\n{script}"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert process.stdout.split() == ["projectors"], process.stderr


@pytest.mark.e2e
def test_completion_imports_no_heavy_package() -> None:
    program = (
        "import os, sys; os.environ['MANTICORE_WORDS'] = 'search\\n--strategy\\ng'\n"
        "from manticore.cli import main\nmain(['completion', 'bash'])\nprint(*sys.modules, sep='\\n')"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    lines = process.stdout.splitlines()
    assert lines[:2] == ["gaea", "gdas"]
    assert not {"torch", "transformers", "lightning", "numba"} & set(lines)
    assert assets.data_folder("schemas").is_dir()
