"""`manticore search` of a parent and its twin: which layers keep attention, by text and recall, within a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from transformers import AutoModelForCausalLM

import manticore as mc
from manticore.errors import ManticoreError
from manticore.experiment.objective import PROBES
from manticore.experiment.searched import open_finished, searched_supernet
from manticore.export.load import load_language_model
from manticore.results.path_scores import SavedScores
from manticore.results.search import SearchResult
from manticore.tasks.data_files import read_text
from manticore.tasks.language.probes import make_probe, text_ids
from manticore.tasks.language.text import SAMPLE
from manticore.training.divergence import TeacherDivergence
from tests.helpers.cli import call, refusal
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import sample

pytestmark = pytest.mark.e2e

KEYS = (
    *("task.train=16", "task.val=4", "task.test=4", "finetune.steps=2", "finetune.batch_size=4", "run.device=cpu"),
    *("baselines.components=false", "baselines.uniform=false", "baselines.random=false", "space.base=parent"),
)
BUDGET = "cache_bytes=75%@256"
"""Two layers of attention: those of a twin have small states."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent, its twin with a state much smaller than 256 keys, and a text."""
    root = tmp_path_factory.mktemp("models")
    model_folder(root / "parent", "llama")
    (root / "text.txt").write_text("\n\n".join(sample()[::8]), encoding="utf-8")
    text = root / "text.txt"
    mc.grow(root / "parent", text, out=root / "twin", tokens=640, length=32, steps=2, state_size=4, quiet=True)
    return root


def arguments(folder: Path, out: Path, *more: object) -> list[object]:
    models = f"{folder / 'parent'},{folder / 'twin'}"
    task = "text@length=48,passage=2000"
    search = ["--models", models, "--task", task, "--data-dir", folder / "text.txt", "--stages", 4, "--preset", "cpu"]
    keys = [part for key in KEYS for part in ("--set", key)]
    return [*search, *keys, "--strategy", "replace-one", "--out", out, *more]


def test_layers_keep_attention_by_text_and_recall_within_a_share_of_the_cache(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are those of the objective with one layer replaced, and the path is the best within the budget."""
    out = tmp_path / "run"
    status, printed, err = call(
        capsys, "search", *arguments(folder, out), "--max", BUDGET, "--recall", "copying=0.5@32,pairs=2"
    )
    assert (status, err) == (0, "")
    assert "aligned" not in printed, "parent and twin have one stream, so no text is read for projectors"
    result, saved = SearchResult.load(out), SavedScores.load(out)
    assert (saved.selector, saved.is_loss) == ("replace-one", False)
    gains = [row[saved.candidates.index("twin")] for row in saved.stages]
    kept = {stage for stage, name in enumerate(result.path) if name == "parent"}
    worst = sorted(range(4), key=lambda stage: gains[stage])[:2]
    assert kept == {stage for stage in worst if gains[stage] < 0}, "where the mixer costs most, as far as it costs"

    exp = open_finished(out, Console(quiet=True))
    net = searched_supernet(exp, "parent")

    def objective(path: list[str]) -> float:
        total = exp.score(net, "val", path=path).loss
        ids = text_ids(exp.task.hf_tokenizer(), read_text(SAMPLE))
        for kind, length, weight in (("copying", 32, 0.5), ("pairs", 41, 2.0)):
            probe = make_probe(kind, ids, length, PROBES, exp.seed("recall") % 2**32)  # type: ignore[arg-type]
            with torch.no_grad():
                logits = net(torch.from_numpy(probe.input_ids), path=path)
            losses = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(probe.labels_NT).flatten())
            total += weight * float(losses)
        return total

    replaced = ["parent", "parent", "twin", "parent"]
    assert gains[2] == pytest.approx(objective(["parent"] * 4) - objective(replaced), abs=1e-5)


def test_paths_are_evaluated_on_some_sequences_at_even_distances(folder: Path, tmp_path: Path) -> None:
    models = [folder / "parent", folder / "twin"]
    settings = [*(key for key in KEYS if not key.startswith("space")), "selection.sequences=2"]
    run = mc.search(
        models=models, base="parent", stages=4, task={"name": "text@length=48,passage=2000"}, strategy="replace-one",
        data_dir=folder / "text.txt", preset="cpu", set=settings, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    exp, saved = run._experiment, SavedScores.load(tmp_path / "run")
    val = exp.task.splits().val
    some = val.take([0, len(val) // 2])
    net = searched_supernet(exp, "parent")
    before, after = (exp.score_examples(net, some, path=[name, *["parent"] * 3]).loss for name in ("parent", "twin"))
    assert saved.stages[0][saved.candidates.index("twin")] == pytest.approx(before - after, abs=1e-5)


def test_a_finished_search_selects_under_another_share(folder: Path, tmp_path: Path) -> None:
    models = [folder / "parent", folder / "twin"]
    settings = [key for key in KEYS if not key.startswith("space")]
    run = mc.search(
        models=models, base="parent", stages=4, task={"name": "text@length=48,passage=2000"}, strategy="replace-one",
        data_dir=folder / "text.txt", preset="cpu", set=settings, max=["cache_bytes=100%@256"], out=tmp_path / "run",
        quiet=True,
    )  # fmt: skip
    for least, most, kept in (("26%", "50%", 1), ("51%", "75%", 2)):
        path = mc.select(run, max=[f"cache_bytes={most}@256"], min=[f"cache_bytes={least}@256"], quiet=True).paths[0]
        assert path.count("parent") == kept, "the layers of the twin have a small state"
    with pytest.raises(ManticoreError, match=r"no path has cache_bytes@256 .* the nearest, twin · twin · twin · twin"):
        mc.select(run, max=["cache_bytes=1%@256"], quiet=True)


def test_placements_are_fine_tuned_from_the_parents_predictions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All have the budget of the search, and the repaired hybrid is written as a model of transformers."""
    out, native = tmp_path / "run", tmp_path / "native"
    kinds = "even,first,last,replace-one,random"
    more = ["--max", BUDGET, "--min", "cache_bytes=51%@256", "--placements", kinds, "--teacher", "parent"]
    status, printed, err = call(capsys, "search", *arguments(folder, out), *more, "--recall", "copying=1")
    assert (status, err) == (0, "")
    rows = {row.name: row for row in SearchResult.load(out).rows}
    kept = {
        name: [index for index, each in enumerate(row.path or ()) if each == "parent"] for name, row in rows.items()
    }
    assert (kept["base evenly"], kept["base first"], kept["base last"]) == ([1, 3], [0, 1], [2, 3])
    for name in ("replace-one alone", *(f"base at random {draw}" for draw in (1, 2, 3))):
        assert len(kept[name]) == 2
        assert rows[name].lead is not None
    assert "base evenly: twin · parent · twin · parent" in printed
    assert call(capsys, "export", out, "--native", "--out", native)[0] == 0
    hybrid, tokenizer = load_language_model(str(out))
    model = AutoModelForCausalLM.from_pretrained(native)
    assert type(model).__name__ == "GraniteMoeHybridForCausalLM"
    ids = torch.tensor([text_ids(tokenizer, read_text(SAMPLE))[:40]])
    torch.testing.assert_close(model(input_ids=ids).logits, hybrid(input_ids=ids).logits, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_search_with_a_teacher_learns_its_predictions(folder: Path, tmp_path: Path) -> None:
    """The divergence of the hybrid from the parent falls on the text of the search, more than without a teacher."""
    models = [folder / "parent", folder / "twin"]
    settings = [*KEYS[:4], *KEYS[6:9], "finetune.steps=12", "finetune.weights.lr=0.003"]
    distances = []
    for teacher in (None, "parent"):
        run = mc.search(
            models=models, base="parent", stages=4, task={"name": "text@length=48,passage=2000"}, teacher=teacher,
            data_dir=folder / "text.txt", preset="cpu", set=settings, max=["cache_bytes=50%@256"],
            strategy="replace-one", out=tmp_path / str(teacher), quiet=True,
        )  # fmt: skip
        parent = AutoModelForCausalLM.from_pretrained(folder / "parent").eval()
        batch = run._experiment.task.collate(list(run._experiment.task.splits().train)[:8])
        with torch.no_grad():
            distances.append(float(TeacherDivergence(parent)(run.hybrid.eval(), batch)))
    assert distances[1] < 0.9 * distances[0]


INVALID = [
    (["--recall", "copyng=1"], "unknown kind of recall 'copyng'"),
    (["--recall", "copying=1@64"], "a prompt of 64 tokens and its answer exceed the 48 tokens of a sequence"),
    (["--recall", "copying=1", "--strategy", "zero-shot"], "set selection.selector=replace-one or evaluated"),
    (["--placements", "evn"], "unknown placements 'evn'. Did you mean 'even'?"),
    (["--teacher", "nowhere"], "'nowhere'"),
    (["--placements", "even", "--set", "space.skip=true"], "stage 1 has parent, twin, skip; leave it out"),
    (["--max", "cache_bytes=1%@256"], "the nearest, twin · twin · twin · twin, has cache_bytes@256"),
]


@pytest.mark.parametrize(("more", "message"), INVALID, ids=[" ".join(more) for more, _ in INVALID])
def test_invalid_options_are_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert message in refusal(capsys, "search", *arguments(folder, tmp_path / "run"), *more)
    assert not (tmp_path / "run").exists()
