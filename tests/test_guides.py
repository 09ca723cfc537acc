"""Law 9: commands with an error beside them end with that error, and the commands of some guides run at toy sizes."""

from __future__ import annotations

import re
import shlex
import shutil
from io import StringIO
from itertools import chain, pairwise
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import constants

from manticore.cli import main
from tests.helpers.cli import call
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import sample
from tests.test_readme import TEXTS, blocks_of, commands_in
from tests.test_readme_commands import PICO, STUDY, TOY, settings

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


GUIDES = (
    *("compare-fairly", "in-my-own-trainer", "my-budget", "pretrained-models", "reading-a-report", "transfer"),
    *("two-hub-models", "when-not-to-search"),
)
"""Guides whose commands run; those of the others are read by their parsers alone, see `test_readme.py`."""

LOCAL = {
    "gpt-neo-nano": "gpt_neo",
    "mamba-nano": "mamba",
    "my-gpt-neo": "gpt_neo",
    "my-mamba": "mamba",
    "pythia": "gpt_neox",
    "mamba": "mamba",
    "smollm2": "llama",
    "smollm2-instruct": "llama",
}
"""Folders of pico models, with their families, that take the place of pretrained models."""

HUB = {"EleutherAI/pythia-160m": "pythia", "state-spaces/mamba-130m-hf": "mamba"}
TEXT = [*TOY["search text"], *settings("align.tokens=600")]
SMALL: dict[str, list[str]] = {
    "search": [*PICO, "--stages", "2"],
    "search text": TEXT,
    "plan": [*PICO, "--stages", "2"],
    "compare": [*STUDY, "--stages", "2", "--workers", "1", "--baselines", "components", "--budgets", "tokens"],
    "compare text": [*TEXT, "--seeds", "1", "--workers", "1", "--baselines", "components", "--budgets", "tokens"],
    "transfer": [*STUDY, "--workers", "1", *settings("study.baselines=[components]", "study.budgets=[tokens]")],
    "finetune": ["--steps", "2", "--batch-size", "4"],
    "evaluate": settings("task.test=2"),
    "evaluate generation": ["--examples", "2", "--lengths", "48"],
    "generate": ["--max-new-tokens", "4"],
    "chat": ["--max-new-tokens", "4"],
    "align": ["--tokens", "600", "--length", "32"],
    "grow": ["--tokens", "640", "--length", "32", "--steps", "3", "--workers", "1"],
    "pretrain": TOY["pretrain"],
    "data": ["--train", "48", "--val", "16", "--test", "16"],
}
"""Arguments that make a command small, by its name and what it reads."""


def commands_of(guide: str) -> list[list[str]]:
    """The commands of a guide that are run, in their order."""
    page = f"docs/guides/{guide}.md"
    blocks = [block for block in blocks_of(page, TEXTS[page]) if block.language == "sh"]
    return [command for block in blocks for command in commands_in(block.text)]


def small(command: list[str]) -> list[str]:
    """A command at toy size, of pico models in folders; one task of MAD stands for all, and a text for WikiText."""
    args = ["mad-fuzzy-recall" if arg == "mad" else arg for arg in command]
    if "wikitext" in args:
        args[args.index("wikitext")] = "text"
        args += ["--data-dir", "my-notes"]
    if "nano-gpt-neo-base" not in args:  # a shipped set belongs to the weights of the shipped models
        args = [_local(arg) if before not in ("--path", "--out") else arg for before, arg in pairwise(["", *args])]
    args = [arg.replace("@128", "@48") for arg in args]  # prompts that fit into the models
    args = ["tensorboard" if before == "--logger" else arg for before, arg in pairwise(["", *args])]  # without packages
    if args[0] == "search" and "--resume" in args:
        return args  # with the recipe of the run
    about = "text" if "text" in args else "generation" if "--generation" in args else ""
    more = settings("search.steps=8") if "halving" in args else []  # as many as its rounds need
    return [*args, *SMALL.get(f"{args[0]} {about}", SMALL.get(args[0], [])), *more]


def _local(arg: str) -> str:
    """The names of pretrained models in an argument as folders; `mamba` beside `gpt-neo` is trained from scratch."""
    names = [HUB.get(name, name) for name in arg.split(",")]
    if not set(names) & (LOCAL.keys() - {"mamba"}):
        return arg
    return ",".join(f"./{name}" if name in LOCAL else name for name in names)


@pytest.fixture(scope="module")
def workshop(shared: Path, pico_run: Path) -> Path:
    """Models, texts and finished runs that guides name; tests copy it."""
    folder = shared / "guides"
    with FileLock(shared / "guides.lock"), pytest.MonkeyPatch.context() as patch:
        if folder.exists():
            return folder
        part = shared / "guides.part"
        part.mkdir()
        patch.chdir(part)
        for name, family in LOCAL.items():
            model_folder(Path(name), family, layers=6)
        for name in ("my-notes", "novels", "corpus", "samples"):
            Path(name).mkdir()
            for number in range(3):
                texts = "\n<|endoftext|>\n".join(sample()[20 * number : 20 * number + 12])
                Path(name, f"{number}.txt").write_text(texts, encoding="utf-8")
        for name in ("letters.txt", "book.txt"):
            Path(name).write_text("\n<|endoftext|>\n".join(sample()[:8]), encoding="utf-8")
        Path("story.txt").write_text("It is a truth universally acknowledged", encoding="utf-8")
        Path("prompts.txt").write_text("It is a truth\nThe castle was built\n", encoding="utf-8")
        for name in ("first", "demo", "mine"):
            shutil.copytree(pico_run, Path("runs", name))
        models = ["--models", "./gpt-neo-nano,./mamba-nano", "--data-dir", "my-notes"]
        for command in (
            ["search", *models, "--task", "text", "--out", "runs/text", *TEXT],
            ["grow", "./gpt-neo-nano", "--text", "book.txt", "--out", "neo-twin", *SMALL["grow"]],
            ["grow", "./smollm2-instruct", "--text", "book.txt", "--out", "smol-twin", *SMALL["grow"]],
        ):
            assert main(command) == 0
        shutil.copytree("runs/text", "runs/cheaper")
        part.rename(folder)
    return folder


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_run(
    guide: str, workshop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    commands = commands_of(guide)
    outputs = {command[command.index("--out") + 1] for command in commands if "--out" in command}
    for name in outputs:
        if Path(name).exists() and "--resume" not in chain(*commands):
            shutil.rmtree(name)
    for command in commands:
        monkeypatch.setattr("sys.stdin", StringIO("It is a truth\n/params\n"))
        status = main(small(command))
        assert status == 0, f"manticore {shlex.join(small(command))}: {capsys.readouterr().err}"
