"""Law 7 for finetune, pretrain, align and grow, with every part that is registered.

Each command is ended half-way and repeated. What is registered later is tested without a change of this file, unless
the command of these tests is refused with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

import manticore as mc
from manticore.adapters.catalog import adapters
from manticore.config.grow import GrowCommand
from manticore.errors import ManticoreError
from manticore.modeling.heads import HEADS
from manticore.modeling.projectors import PROJECTORS
from manticore.utils import assets
from manticore.utils.fields import bare_type, field_types
from tests.cli.test_align import byte_pairs, write_model
from tests.helpers.interrupted_runs import killed_after, recorded
from tests.helpers.kind_tasks import kind_tasks, search
from tests.helpers.trained_tokenizers import sample

pytestmark = pytest.mark.e2e

NO_INPUTS = "starts from what a trained hybrid computes; use it with manticore finetune"
REFUSED = {
    "pretrain corda": f"adapter.name corda {NO_INPUTS}",
    "pretrain ladder": f"adapter.name ladder {NO_INPUTS}",
    "pretrain more-trials": f"adapter.name more-trials {NO_INPUTS}",
    "align two-layer": "projector 'two-layer' has no closed form; align fits linear and low-rank",
    "align identity": "projector 'identity' has nothing to fit; align fits linear and low-rank",
}
"""What cannot be in the commands of these tests, by name, and the start of the error. Nothing else is skipped."""

KEYS = {"run.device": "cpu", "run.checkpoint_every": 2, "run.log_every": 1}
PRETRAIN = {
    "vocabulary": 300,
    "length": 32,
    "steps": 6,
    "batch_size": 4,
    "passage": 1000,
    "held_out": 0.1,
    **KEYS,
}
SIZES = {
    "pretrain/gpt-neo-nano": {"width": 16, "layers": 2, "heads": 2, "window_size": 8},
    "pretrain/mamba-nano": {"width": 16, "layers": 2, "state_size": 4},
}
TIMES = ("seconds", "cache_seconds", "machine")


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    """A task for each kind, which the runs select by name."""
    with kind_tasks():
        yield


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished search on the task of a kind."""
    folder = tmp_path_factory.mktemp("runs")

    def find(kind: str) -> Path:
        if not (folder / kind).exists():
            search(folder / kind, kind)
        return folder / kind

    return find


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with a tokenizer, and a text."""
    root = tmp_path_factory.mktemp("models")
    for name, family in (("neo", "gpt_neo"), ("snake", "mamba"), ("lama", "llama")):
        write_model(root / name, family, byte_pairs(("t", "h"), ("th", "e")))
    text = "the other thing was there when née Müller was singing in the evening, or so they thought. "
    (root / "text.txt").write_text("".join(text[start % 7 :] for start in range(80)), encoding="utf-8")
    (root / "corpus").mkdir()
    for name, part in (("a", sample()[:6]), ("b", sample()[100:106])):
        (root / "corpus" / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    return root


def check(tmp_path: Path, name: str, run: Callable[[Path], object]) -> None:
    """A command with `name` that is ended half-way and repeated has the files of an uninterrupted one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    if name in REFUSED:
        with pytest.raises(ManticoreError) as refusal:
            run(whole / "out")
        assert str(refusal.value).startswith(REFUSED[name])
        return
    with recorded(whole) as events:
        run(whole / "out")
    assert killed_after(parts, max(1, len(events.names) // 2), lambda: run(parts / "out"))
    run(parts / "out")
    assert contents(parts) == contents(whole)


def contents(folder: Path) -> dict[str, object]:
    """The files of a folder but for logs, pages and cards; JSON without times."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        name: timeless(json.loads(file.read_text())) if file.suffix == ".json" else file.read_bytes()
        for name, file in files.items()
        if "/logs/" not in name and file.name not in ("README.md", "report.html")
    }


def timeless(value: Any) -> Any:
    """A value of JSON without times."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def finetune(run: Path, out: Path, keys: Mapping[str, object] | None = None, **options: Any) -> None:
    keys = {**KEYS, **(keys or {})}
    mc.finetune(run, out=out, steps=6, batch_size=4, set=keys, resume=out.exists(), quiet=True, **options)


@pytest.mark.parametrize("adapter", list(adapters))
def test_finetuning_resumes_with_every_adapter(adapter: str, run_of: Callable[[str], Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"keep_adapter": True} if adapter == "ladder" else {}  # it cannot be merged
    if adapter == "more-trials":
        options["keys"] = {"adapter.options": {"configurations": [[1, 1], [2, 2]]}}
    check(
        tmp_path, f"finetune {adapter}", lambda out: finetune(run_of("classification"), out, adapter=adapter, **options)
    )


@pytest.mark.parametrize("kind", list(HEADS))
def test_finetuning_resumes_with_every_kind_of_task(kind: str, run_of: Callable[[str], Path], tmp_path: Path) -> None:
    check(tmp_path, f"finetune {kind}", lambda out: finetune(run_of(kind), out))


def pretrain(config: str, text: Path, out: Path, **options: Any) -> None:
    keys = {**PRETRAIN, "size": SIZES[config]}
    mc.pretrain(config=config, text=text, out=out, set=keys, resume=out.exists(), quiet=True, **options)


@pytest.mark.parametrize("config", [name for name in assets.names("configs") if name.startswith("pretrain/")])
def test_every_pretraining_resumes(config: str, models: Path, tmp_path: Path) -> None:
    check(tmp_path, f"pretrain {config}", lambda out: pretrain(config, models / "corpus", out))


@pytest.mark.parametrize("adapter", list(adapters))
def test_pretraining_resumes_with_every_adapter(adapter: str, models: Path, tmp_path: Path) -> None:
    text = models / "corpus"
    check(tmp_path, f"pretrain {adapter}", lambda out: pretrain("pretrain/gpt-neo-nano", text, out, adapter=adapter))


@pytest.mark.parametrize("projector", list(PROJECTORS))
def test_an_alignment_that_was_ended_is_repeated(projector: str, models: Path, tmp_path: Path) -> None:
    def align(out: Path) -> None:
        sizes: dict[str, Any] = {"stages": 2, "length": 32, "tokens": 900, "steps": 3, "device": "cpu"}
        parents = [models / "neo", models / "snake"]
        mc.align(parents, models / "text.txt", out=out, projector=projector, quiet=True, **sizes)

    check(tmp_path, f"align {projector}", align)


@pytest.mark.parametrize("mixer", get_args(bare_type(field_types(GrowCommand)["mixer"])))
@pytest.mark.parametrize("start", get_args(bare_type(field_types(GrowCommand)["start"])))
def test_growing_resumes(mixer: str, start: str, models: Path, tmp_path: Path) -> None:
    def grow(out: Path) -> None:
        sizes: dict[str, Any] = {"tokens": 640, "length": 32, "steps": 3, "mixer": mixer, "start": start}
        mc.grow(models / "lama", models / "text.txt", out=out, quiet=True, **sizes)

    check(tmp_path, f"grow {mixer} {start}", grow)
