"""Valid inputs of every kind, which are mutated, and the commands that read them."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import manticore as mc
from benchmarks.reliability.kills import KEYS, TASK
from manticore.tasks import TaskOptions, write_task
from tests.helpers.pico import supernet
from tests.helpers.study_results import study_result
from tests.helpers.text_hybrids import export_hybrid, hybrid_tokenizer
from tests.helpers.transfer_results import transfer_result

SIZES = (
    *("--seed", "0", "--set", "run.device=cpu", "--set", "run.threads=1", "--set", "space.stages=2"),
    *("--set", "scratch.attention.width=16", "--set", "scratch.attention.layers=2"),
    *("--set", "scratch.attention.heads=2", "--set", "scratch.recurrent.width=16"),
    *("--set", "scratch.recurrent.layers=2", "--set", "search.steps=12", "--set", "search.warmup_steps=4"),
    *("--set", "finetune.steps=6", "--set", "search.batch_size=8", "--set", "finetune.batch_size=8"),
)
"""A search at pico size."""

MAD = "mad-compression@vocab_size=4,seq_len=6"
SCRATCH = ("search", "--models", "gpt-neo,mamba", *SIZES, "--preset", "cpu", "--out", "{out}")
TEXT = ("search", "--models", "{text}/gpt2,{text}/mamba", *SIZES, "--preset", "cpu", "--out", "{out}")
GENERATE = ("--prompt", "It is", "--max-new-tokens", "2")
FEW = ("--set", "task.train=12", "--set", "task.val=2", "--set", "task.test=2")
TRAP = 'import os\nopen(os.environ["TRAP_MARKER"], "a").write("run\\n")\n\n\ndef Trap(width=0):\n    return None\n'
"""A module that leaves a mark when its code is run."""


@dataclass(frozen=True)
class InputKind:
    """A kind of input.

    Attributes:
        name: the kind.
        folder: folder of the valid inputs that is copied for each case; `{in}` in commands.
        files: patterns of the files that are mutated; empty for command lines.
        commands: commands that read them; `{out}` is a new folder, `{text}` the folder of valid models.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]


def _labelled(suffix: str) -> tuple[str, ...]:
    return (*SCRATCH, "--task", "labelled@length=16", "--data-dir", f"{{in}}/train{suffix}")


KINDS = (
    InputKind(
        "recipe",
        "recipe",
        ("recipe.yaml",),
        (("validate", "{in}/recipe.yaml"), ("search", "--config", "{in}/recipe.yaml", "--out", "{out}")),
    ),
    InputKind("pretraining", "recipe", ("pretrain.yaml",), (("validate", "{in}/pretrain.yaml"),)),
    InputKind(
        "space",
        "recipe",
        ("space.yaml",),
        (
            ("validate", "{in}/space.yaml"),
            ("search", "--space", "{in}/space.yaml", "--task", MAD, *FEW, *SIZES, "--out", "{out}"),
        ),
    ),
    InputKind("TSV", "listops", ("*.tsv",), ((*SCRATCH, *FEW, "--task", "lra-listops", "--data-dir", "{in}"),)),
    InputKind(".npy", "mad", ("*/*/*.npy",), ((*SCRATCH, *FEW, "--task", MAD, "--data-dir", "{in}"),)),
    InputKind(
        "PNG",
        "pathfinder",
        ("*/*/imgs/0/sample_1.png", "*/*/metadata/0.npy", "*/*/splits.json"),
        ((*SCRATCH, *FEW, "--task", "lra-pathfinder32", "--data-dir", "{in}"),),
    ),
    InputKind(
        ".jsonl",
        "documents",
        ("texts.jsonl", "train.jsonl", "tokens.jsonl"),
        (
            (*TEXT, "--task", "text@length=32", "--data-dir", "{in}/texts.jsonl"),
            _labelled(".jsonl"),
            (*SCRATCH, "--task", "labelled@length=16", "--data-dir", "{in}/tokens.jsonl"),
        ),
    ),
    InputKind(
        ".parquet",
        "documents",
        ("texts.parquet",),
        ((*TEXT, "--task", "text@length=32", "--data-dir", "{in}/texts.parquet"),),
    ),
    InputKind(
        "compressed text",
        "documents",
        ("texts.txt.gz", "texts.txt.xz", "texts.txt"),
        tuple(
            (*TEXT, "--task", "text@length=32", "--data-dir", f"{{in}}/texts.txt{end}") for end in (".gz", ".xz", "")
        ),
    ),
    InputKind(
        "safetensors",
        "text",
        ("gpt2/model.safetensors", "hybrid/model.safetensors"),
        (("generate", "{in}/gpt2", *GENERATE), ("generate", "{in}/hybrid", *GENERATE)),
    ),
    InputKind(
        "tokenizer.json",
        "text",
        ("gpt2/tokenizer*.json", "hybrid/tokenizer*.json"),
        (("generate", "{in}/gpt2", *GENERATE), ("generate", "{in}/hybrid", *GENERATE)),
    ),
    InputKind(
        "config.json",
        "text",
        ("gpt2/*config.json", "hybrid/*config.json"),
        (("generate", "{in}/gpt2", *GENERATE), ("generate", "{in}/hybrid", *GENERATE)),
    ),
    InputKind("projector set", "set", ("config.json", "model.safetensors"), (("validate", "{in}"),)),
    InputKind(
        "result",
        "run",
        ("*.json", "alphas.jsonl", "recipe.yaml", "logs/csv/*/metrics.csv"),
        (("report", "{in}"), ("export", "{in}", "--out", "{out}"), ("evaluate", "{in}")),
    ),
    InputKind("comparison", "study", ("*.json",), (("report", "{in}"),)),
    InputKind("transfer", "transfer", ("*.json",), (("report", "{in}"),)),
    InputKind(
        "unfinished run",
        "unfinished",
        ("checkpoints/*", "*.json", "alphas.jsonl", "recipe.yaml"),
        (("search", "--out", "{in}", "--resume"),),
    ),
    InputKind(
        "command line",
        "",
        (),
        (
            (*SCRATCH, *FEW, "--task", MAD),
            ("generate", "{text}/hybrid", *GENERATE, "--seed", "3"),
            ("evaluate", "{text}/gpt2", "--task", "text@length=32", "--data-dir", "{text}/texts.txt"),
            ("export", "{run}", "--path", "gpt-neo,mamba", "--out", "{out}"),
            ("ls", "models"),
            ("show", "lra-listops"),
            ("cp", "search/mad", "{out}"),
            ("data", "lra-listops", "--train", "8", "--val", "4", "--test", "4", "--seed", "0", "--out", "{out}"),
            ("validate", "search/text"),
            ("finetune", "{run}", "--steps", "3", "--out", "{out}"),
            ("schema", "recipe"),
            ("completion", "bash"),
        ),
    ),
)
"""All kinds. The folders of commands without `--out` may change where the command writes into its input."""

WRITTEN_INPUTS = {"report": ("report.html",), "search": ("",)}
"""Files that a command may change in the folder that it reads; an empty name: any file."""


def write_inputs(folder: Path) -> None:
    """Write the valid inputs of all kinds below `folder`, and a trap beside them."""
    _recipes(folder / "recipe")
    _data(folder)
    write_models(folder / "text")
    shutil.copy(folder / "documents" / "texts.txt", folder / "text" / "texts.txt")
    _results(folder)
    (folder / "trap").mkdir()
    for place in (folder / "trap", folder / "text" / "gpt2", folder / "text" / "hybrid", folder / "recipe"):
        (place / "trap.py").write_text(TRAP)


def _recipes(folder: Path) -> None:
    folder.mkdir(parents=True)
    space = {"components": ["gpt-neo", {"source": "mamba", "size": {"width": 16}}], "stages": 2, "skip": True}
    recipe = {"task": TASK, "space": space, **KEYS, "study": {"seeds": 2}, "baselines": {"uniform": True}}
    pretrain = {"family": "gpt_neo", "steps": 4, "batch_size": 2, "length": 16}
    for name, value in {"space": space, "recipe": recipe, "pretrain": pretrain}.items():
        (folder / f"{name}.yaml").write_text(json.dumps(value, indent=1))


def _data(folder: Path) -> None:
    write_task(TaskOptions("lra-listops", preset="cpu", train=12, val=4, test=4, seed=0), folder / "listops")
    write_task(TaskOptions(MAD, preset="cpu", train=12, val=4, test=4, seed=0), folder / "mad")
    write_task(TaskOptions("lra-pathfinder32", preset="cpu", train=12, val=2, test=2, seed=0), folder / "pathfinder")
    documents = folder / "documents"
    documents.mkdir()
    texts = [f"Document {number} says: the old man and the sea, part {number}.\n" * 3 for number in range(60)]
    _write_lines(documents / "texts.jsonl", [{"text": text, "group": index // 2} for index, text in enumerate(texts)])
    _write_lines(documents / "train.jsonl", [{"text": text[:20], "label": "ab"[i % 2]} for i, text in enumerate(texts)])
    tokens = [
        {"tokens": [*f"{i:06b}"], "labels": ["a" if bit == "1" else "b" for bit in f"{i:06b}"]} for i in range(40)
    ]
    _write_lines(documents / "tokens.jsonl", tokens)
    text = "\n<|endoftext|>\n".join(texts).encode()
    (documents / "texts.txt").write_bytes(text)
    (documents / "texts.txt.gz").write_bytes(gzip.compress(text, mtime=0))
    (documents / "texts.txt.xz").write_bytes(lzma.compress(text))
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), documents / "texts.parquet")


def _write_lines(file: Path, records: Sequence[object]) -> None:
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def write_models(folder: Path) -> None:
    """Write two language models with a common tokenizer, and a hybrid of two others."""
    from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 336, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, **sizes))
    mamba = MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, **sizes))
    for name, model in (("gpt2", gpt2), ("mamba", mamba)):
        model.save_pretrained(folder / name)
        hybrid_tokenizer().save_pretrained(folder / name)
    export_hybrid(folder / "hybrid")


def _results(folder: Path) -> None:
    from manticore.alignment.projector_set import ProjectorSet

    ProjectorSet.of(supernet("gpt_neo", "mamba"), 100, loss=1.5).save(folder / "set", "# a set\n")
    mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), TASK, out=folder / "run", quiet=True, **KEYS)
    shutil.copytree(folder / "run", folder / "unfinished")
    for name in ("metrics.json", "report.html", "checkpoints/fine-tune.json", "checkpoints/fine-tune.safetensors"):
        (folder / "unfinished" / name).unlink()
    shutil.rmtree(folder / "unfinished" / "hybrid")
    for name, result in (("study", study_result()), ("transfer", transfer_result())):
        (folder / name).mkdir()
        result.save(folder / name)
