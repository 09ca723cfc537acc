"""Law 9: commands with an error beside them end with that error, and the others of the guides run at toy sizes."""

from __future__ import annotations

import lzma
import re
import shlex
import shutil
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_torchao_available

import manticore as mc
from manticore.cli import main
from tests.helpers.cli import call
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import sample
from tests.test_readme import ROOT, TEXTS, blocks_of, shell_commands
from tests.test_readme_commands import PICO, STUDY, TOY, settings

ERROR = re.compile(r"^```sh\n([^`]*?)^```\n\n```text\n([^`]*?)^```", re.MULTILINE)
ERRORS = [pair for page in ("docs/faq.md", "docs/guides/costs.md") for pair in ERROR.findall(TEXTS[page])]


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


GUIDES = {Path(page).stem: page for page in TEXTS if page == "docs/quickstart.md" or page.startswith("docs/guides/")}

UNRUN = {
    "pip install": "tests/test_wheel.py installs the package",
    "make install": "tests/test_wheel.py installs the package",
    ". .venv/bin/activate": "tests/test_wheel.py installs the package",
    "manticore doctor": "tests/test_readme_commands.py runs it",
    "manticore quickstart": "tests/test_readme_commands.py runs it",
    "--lm-eval": "downloads the data of the tasks: tests/tools/test_lm_eval.py runs the harness",
    "--license": "uploads: tests/pipelines/test_push.py pushes to a server that stands for the hub",
    "--launcher submitit": "needs its package: tests/studies/test_launchers.py runs jobs where it is",
    "--launcher ray": "needs a cluster: tests/studies/test_launchers.py runs jobs on one of three nodes",
    "ray start": "starts a cluster: tests/studies/test_launchers.py has one of three nodes",
    "benchmarks/job_overhead.py": "measures what a job costs: tests/studies/test_launchers.py runs jobs",
    "--devices": "starts processes: tests/pipelines/test_several_processes.py does",
    "torchrun": "starts processes: tests/pipelines/test_several_processes.py does",
    "srun": "needs SLURM: tests/pipelines/test_several_processes.py sets the variables of srun",
    "class Stitched(Topology)": "a part of an example of CONTRIBUTING.md, which tests/test_readme.py runs",
}
"""Commands and blocks that are not run, by a part of them, with the test that covers what they do."""

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
    "search text": [*TEXT, "--stages", "2"],
    "search twin": [
        *settings("task.train=16", "task.val=2", "task.test=2", "finetune.steps=2", "finetune.batch_size=4"),
        *settings("selection.recall=[copying=0.5@32]"),
        *("--stages", "6"),
    ],
    "plan": [*PICO, "--stages", "2"],
    "compare": [*STUDY, "--stages", "2", "--workers", "1", "--baselines", "components", "--budgets", "tokens"],
    "compare text": [
        *TEXT,
        *("--stages", "2", "--seeds", "1", "--learning-rates", "0.004", "--workers", "1"),
        *("--baselines", "components", "--budgets", "tokens"),
    ],
    "transfer": [*STUDY, "--workers", "1", *settings("study.baselines=[components]", "study.budgets=[tokens]")],
    "finetune": ["--steps", "2", "--batch-size", "4"],
    "finetune text": ["--steps", "2", "--batch-size", "4", *settings("task.val=2", "task.test=2")],
    "evaluate": settings("task.test=2"),
    "evaluate generation": ["--examples", "2", "--lengths", "48"],
    "generate": ["--max-new-tokens", "4"],
    "chat": ["--max-new-tokens", "4"],
    "align": ["--tokens", "600", "--length", "32"],
    "grow": ["--tokens", "640", "--length", "32", "--steps", "3", "--workers", "1"],
    "pretrain": TOY["pretrain"],
    "data": ["--train", "48", "--val", "16", "--test", "16"],
    "bench": ["--stages", "2", "--lengths", "24,48"],
}
"""Arguments that make a command small, by its name and what it reads."""

MORE = {
    "halving": settings("search.steps=8"),
    "more-trials": ["--steps", "6", *settings("adapter.options.configurations=[[4, 4], [1, 2]]")],
    "--leave-one-out": settings("task.val=11"),  # of each file some
}
"""Arguments besides those of `SMALL`: rounds and trials need some steps, and a mix some text of each file."""

PYTHON = {
    '"pythia", "mamba"': '"./pythia", "./mamba"',
    '["gpt-neo-nano", "mamba-nano"]': '["./gpt-neo-nano", "./mamba-nano"]',
    '"wikitext"': '"text", data_dir="my-notes"',
    "finetune(steps=500": "finetune(steps=2",
    "finetune(path=": "finetune(steps=2, path=",
    "length=2048": "length=32",
}
"""The same for blocks of Python, as replacements."""


def steps_of(guide: str) -> list[list[str] | str]:
    """The commands of a guide, as words, and its Python that `test_readme.py` does not run, in their order."""
    page = GUIDES[guide]
    out: list[list[str] | str] = []
    for block in blocks_of(page, ERROR.sub("", TEXTS[page])):
        if block.language in ("sh", "bash"):
            out += shell_commands(block.text)
        elif block.language == "python" and not block.marked:
            out.append(block.text)
    return out


def is_run(step: list[str] | str) -> bool:
    missing = () if is_torchao_available() else ("--quantize",)
    return not any(part in _text(step) for part in (*UNRUN, *missing))


def _text(step: list[str] | str) -> str:
    return step if isinstance(step, str) else " ".join(step)


def small(command: list[str]) -> list[str]:
    """Arguments at toy size, of pico models in folders; one task of MAD stands for all, and a text for WikiText."""
    args = ["mad-fuzzy-recall" if arg == "mad" else arg for arg in command]
    if "wikitext" in args:
        args[args.index("wikitext")] = "text"
        args += ["--data-dir", "my-notes"]
    if "nano-gpt-neo-base" not in args:  # a shipped set belongs to the weights of the shipped models
        args = [_local(arg) if before not in ("--path", "--out") else arg for before, arg in pairwise(["", *args])]
    args = [re.sub(r"@(128|256)\b", "@48", arg.replace("/shared/", "shared-")) for arg in args]  # models read 64 tokens
    args = ["tensorboard" if before == "--logger" else arg for before, arg in pairwise(["", *args])]  # without packages
    if args[0] == "search" and "--resume" in args:
        return args  # with the recipe of the run
    about = "text" if "text" in args else "generation" if "--generation" in args else ""
    about = "twin" if "search/twin" in args else about
    more = [arg for name, keys in MORE.items() if name in args for arg in keys]
    return [*args, *SMALL.get(f"{args[0]} {about}", SMALL.get(args[0], [])), *more]


def _local(arg: str) -> str:
    """The names of pretrained models in an argument as folders; `mamba` beside `gpt-neo` is trained from scratch."""
    names = [HUB.get(name, name) for name in arg.split(",")]
    if not set(names) & (LOCAL.keys() - {"mamba"}):
        return arg
    return ",".join(f"./{name}" if name in LOCAL else name for name in names)


def small_search(search: Callable[..., mc.Result]) -> Callable[..., mc.Result]:
    """`mc.search` at toy size."""

    def search_small(space: Any = None, task: Any = None, **options: Any) -> mc.Result:
        keys = TEXT if task == "text" else PICO
        return search(space, task, preset="cpu", set=keys[3::2], **options)

    return search_small


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
        for name in ("my-notes", "novels", "corpus", "samples", "news", "law"):
            Path(name).mkdir()
            for number in range(3):
                texts = "\n<|endoftext|>\n".join(sample()[20 * number : 20 * number + 12])
                Path(name, f"{number}.txt").write_text(texts, encoding="utf-8")
        Path("domains").mkdir()
        for number, name in enumerate(("news.txt", "code.txt", "law.txt")):  # as much as each split needs of each file
            texts = "\n<|endoftext|>\n".join(sample()[30 * number : 30 * number + 30])
            Path("domains", name).write_text(texts, encoding="utf-8")
        few = "\n<|endoftext|>\n".join(sample()[:8])
        for name in ("letters.txt", "book.txt"):
            Path(name).write_text(few, encoding="utf-8")
        Path("samples", "public_domain.txt.xz").write_bytes(lzma.compress(few.encode()))
        Path("story.txt").write_text("It is a truth universally acknowledged", encoding="utf-8")
        Path("prompts.txt").write_text("It is a truth\nThe castle was built\n", encoding="utf-8")
        for name in ("first", "demo", "mine"):
            shutil.copytree(pico_run, Path("runs", name))
        models = ["--models", "./gpt-neo-nano,./mamba-nano", "--data-dir", "my-notes"]
        for command in (
            ["search", *models, "--task", "text", "--out", "runs/text", *TEXT, "--stages", "4"],
            ["grow", "./gpt-neo-nano", "--text", "book.txt", "--out", "neo-twin", *SMALL["grow"]],
            ["grow", "./smollm2-instruct", "--text", "book.txt", "--out", "smol-twin", *SMALL["grow"]],
        ):
            assert main(command) == 0
        for name in ("cheaper", "quickstart"):
            shutil.copytree("runs/text", Path("runs", name))
        shutil.copytree("runs/text/hybrid", "my-hybrid")
        part.rename(folder)
    return folder


def names_of(workshop: Path) -> dict[str, object]:
    """What a block of Python may use besides its own imports."""
    gpt, mamba = (AutoModelForCausalLM.from_pretrained(workshop / name) for name in ("gpt-neo-nano", "mamba-nano"))
    tokenizer = AutoTokenizer.from_pretrained(workshop / "gpt-neo-nano")
    return {
        "mc": mc,
        "gpt": gpt,
        "mamba": mamba,
        **dict.fromkeys(("tokenizer", "gpt_tokenizer", "mamba_tokenizer"), tokenizer),
    }


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("guide", [guide for guide in GUIDES if any(map(is_run, steps_of(guide)))])
def test_the_commands_of_a_guide_run(
    guide: str, workshop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mc, "search", small_search(mc.search))
    steps = [step for step in steps_of(guide) if is_run(step)]
    made = {name for step in steps for name in re.findall(r"(?:--out |out=\")([\w/-]+)", _text(step))}
    for name in made - set(re.findall(r"--out (\S+) --resume", "\n".join(map(_text, steps)))):
        shutil.rmtree(name, ignore_errors=True)
    for step in steps:
        if isinstance(step, str):
            text = step
            for old, new in PYTHON.items():
                text = text.replace(old, new)
            exec(compile(text, GUIDES[guide], "exec"), names_of(workshop))
            continue
        monkeypatch.setattr("sys.stdin", StringIO("It is a truth\n/params\n"))
        assert step[0] == "manticore", step
        args = small(step[1:])
        status = main(args)
        assert status == 0, f"manticore {shlex.join(args)}: {capsys.readouterr().err}"


def test_every_command_of_the_faq_has_its_error() -> None:
    page = TEXTS["docs/faq.md"]
    assert len(ERROR.findall(page)) == page.count("```sh\n") >= 14


def test_what_is_not_run_is_in_a_guide_and_tested_elsewhere() -> None:
    texts = [_text(step) for guide in GUIDES for step in steps_of(guide)]
    assert [part for part in UNRUN if not any(part in text for text in texts)] == []
    assert [part for part in PYTHON if not any(part in text for text in texts)] == []
    files = [name for reason in UNRUN.values() for name in re.findall(r"tests/[\w/]+\.py", reason)]
    assert len(files) == len(UNRUN)
    assert [name for name in files if not (ROOT / name).is_file()] == []
    lines = TEXTS["CONTRIBUTING.md"].splitlines()
    (excerpt,) = (text for text in texts if "class Stitched(Topology)" in text)
    assert [line for line in excerpt.splitlines() if line not in lines] == []
