"""Law 9: the commands of the README run one after the other, in the order in which they stand, at toy sizes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from manticore.cli import main
from manticore.config.loading import load_recipe
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import sample
from tests.test_readme import FENCE, TEXTS, commands_in

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.usefixtures("cached")]


def commands() -> Iterator[list[str]]:
    """The arguments of every `manticore ...` in blocks of shell and in tables, from top to bottom."""
    page = TEXTS["README.md"]
    blocks = [(match.start(), match[2]) for match in FENCE.finditer(page) if match[1] == "sh"]
    cells = [(match.start(1), match[1]) for match in re.finditer(r"^\|.*?`(manticore [^|]*)\|", page, re.MULTILINE)]
    for _, text in sorted([*blocks, *cells]):
        for line in re.findall(r"manticore [^`\n]+", text.replace("\\\n", " ")):
            yield from commands_in(line)


def settings(*keys: str) -> list[str]:
    return [arg for key in keys for arg in ("--set", key)]


FEW = ("search.steps=4", "search.warmup_steps=2", "search.batch_size=4", "finetune.steps=2", "finetune.batch_size=4")
PICO = [
    *("--preset", "cpu"),
    *settings("run.device=cpu", "task.train=48", "task.val=16", "task.test=16", *FEW),
    *settings("scratch.attention.width=16", "scratch.attention.heads=2", "scratch.recurrent.width=16"),
]
STUDY = [*PICO, "--seeds", "1", "--learning-rates", "0.004"]
TOY: dict[str, list[str]] = {
    "search": PICO,
    "search text": [
        *("--preset", "cpu"),
        *settings("run.device=cpu", "task.train=16", "task.val=2", "task.test=2", *FEW),
        *settings("align.tokens=2000", "baselines.random=false", "baselines.uniform=false"),
    ],
    "quickstart": settings(
        *("task.val=2", "task.test=2", "search.batch_size=4"),
        *("finetune.steps=2", "finetune.batch_size=4", "align.tokens=600"),
    ),
    "compare": [*STUDY, "--baselines", "components", "--budgets", "tokens"],
    "transfer": [*STUDY, *settings("study.baselines=[components]", "study.budgets=[tokens]")],
    "search twin": [
        *settings("task.train=16", "task.val=2", "task.test=2", "finetune.steps=2", "finetune.batch_size=4"),
        *settings("baselines.random=false", "baselines.uniform=false", "selection.recall=[copying=0.5@32]"),
    ],
    "grow": ["--tokens", "640", "--length", "32", "--steps", "2", "--state-size", "4"],
    "align": ["--tokens", "600", "--length", "64"],
    "finetune": ["--steps", "2", "--batch-size", "2"],
    "generate": ["--max-new-tokens", "4"],
    "pretrain": settings(
        *("vocabulary=300", "length=32", "steps=2", "batch_size=4", "passage=1000", "held_out=0.1"),
        *("size={width: 16, layers: 2, state_size: 4}", "run.device=cpu"),
    ),
    "bench": ["--seeds", "1"],
    "doctor": ["--no-hub"],
}
"""Arguments that make a command small, by its name; of a search of text or of a twin, by its task or models too."""

PARENT = {"smollm2-instruct": "./parent", "30": "4"}
"""SmolLM2 and its number of layers, in place of which the commands have a small Llama."""

SHORT = "@search.steps=24@search.warmup_steps=2@search.batch_size=4@finetune.batch_size=4"
"""Settings that make a method of `bench strategies` small; eight paths need three steps each."""


def small(command: list[str]) -> list[str]:
    """A command at toy size: one task instead of the six of MAD, few examples and few steps."""
    name = "search text" if command[0] == "search" and "text" in command else command[0]
    if command[0] == "search" and "twin" in " ".join(command):
        name = "search twin"
    args = ["mad-fuzzy-recall" if arg == "mad" else arg for arg in command]
    for name_of_parent, small_one in PARENT.items():
        args = [re.sub(rf"(?<![\w-]){name_of_parent}(?![\w-])", small_one, arg) for arg in args]
    if "--method" in args:
        methods = args.index("--method") + 1
        args[methods] = ",".join(method + SHORT for method in args[methods].split(","))
    return [*args, *TOY.get(name, [])]


def test_all_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("my-notes", "corpus"):
        Path(folder).mkdir()
        for number in range(3):
            texts = "\n<|endoftext|>\n".join(sample()[20 * number : 20 * number + 12])
            Path(folder, f"{number}.txt").write_text(texts, encoding="utf-8")
    model_folder(Path("parent"), "llama")
    Path("book.txt").write_text("\n<|endoftext|>\n".join(sample()[:8]), encoding="utf-8")
    ran = []
    for command in commands():
        status = main(small(command))
        assert status == 0, f"manticore {shlex.join(command)}: {capsys.readouterr().err}"
        ran.append(command[0])
    assert {"search", "grow", "compare", "transfer", "align", "export", "generate", "finetune", "pretrain"} <= set(ran)
    models = ["gpt-neo-nano", "mamba-nano"]
    keys = {"task": {"name": "text"}, "space": {"components": models}, "align": {"projectors": "my-projectors"}}
    stages = load_recipe(None, keys).recipe.space.stages
    path = ",".join(models[stage % 2] for stage in range(stages))
    by_hand = ["export", "--models", ",".join(models), "--projectors", "my-projectors", "--path", path]
    assert main([*by_hand, "--out", "aligned"]) == 0, "a set is fitted for the recipe of text unless --stages is given"
    model = AutoModelForCausalLM.from_pretrained("runs/text/hybrid")
    tokenizer = AutoTokenizer.from_pretrained("runs/text/hybrid")
    assert model(**tokenizer("It is a truth", return_tensors="pt")).logits.isfinite().all()
