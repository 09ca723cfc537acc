"""`manticore report --analyze` of a search and of a fine-tuning, and `manticore finetune --leave-one-out`."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

import manticore as mc
from manticore.adapters.attach import linear_layers
from manticore.export.load import load_hybrid
from manticore.results.analysis import HybridAnalysis
from manticore.results.leave_one_out import LeaveOneOut
from manticore.tasks.language.domains import Domains
from manticore.tasks.language.text import text
from tests.helpers.cli import call, refusal
from tests.helpers.text_hybrids import export_hybrid, hybrid_tokenizer
from tests.tasks.language.test_domains import options, write_domain

pytestmark = pytest.mark.e2e


def test_the_stages_of_a_search_are_analyzed(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, cached: Path
) -> None:
    run = copytree(pico_run, tmp_path / "run")
    status, _, err = call(capsys, "report", run, "--analyze")
    assert status == 0, err
    analysis = HybridAnalysis.load(run)
    assert [stage.candidate for stage in analysis.stages] == list(mc.Result.load(run).path)
    assert all(stage.moved is not None and 0.5 < stage.moved <= 1 for stage in analysis.stages)  # all were trained
    assert all(stage.fsp_distance is not None and stage.fsp_distance > 0 for stage in analysis.stages)
    assert "Changes of each stage" in (run / "report.html").read_text("utf-8")


def test_the_rank_of_lora_is_seen_in_the_merged_weights(tmp_path: Path) -> None:
    hybrid = export_hybrid(tmp_path / "hybrid")
    files = [write_domain(tmp_path, name) for name in ("word", "line")]
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": list(map(str, files))}
    keys = {"adapter.options.rank": 1}
    out = tmp_path / "out"
    mc.finetune(hybrid, task, out=out, steps=4, batch_size=4, lr=1e-2, adapter="lora", set=keys, quiet=True)
    page = mc.report(out, analyze=True, quiet=True)
    assert "Changes of each stage" in page.read_text("utf-8")
    model = load_hybrid(hybrid)
    layers = linear_layers(model)
    for number, stage in enumerate(HybridAnalysis.load(out).stages):
        inside = {name: layer for name, layer in layers.items() if name.startswith(f"model.stages.{number}.segment.")}
        matrices = [
            (name, min(weight.shape))
            for name, weight in model.named_parameters()
            if f".stages.{number}.segment." in name and weight.dim() == 2
        ]
        assert stage.rank == pytest.approx(len(inside) / sum(size for _, size in matrices))
        assert stage.moved is not None
        assert 0 < stage.moved < 1  # biases and norms did not
        assert stage.fsp_distance is not None
        assert stage.fsp_distance > 0


def test_each_domain_is_left_out_once(tmp_path: Path) -> None:
    hybrid, out = export_hybrid(tmp_path / "hybrid"), tmp_path / "out"
    files = [write_domain(tmp_path, name) for name in ("word", "line")]
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": list(map(str, files))}
    setting = {"out": out, "steps": 3, "batch_size": 4, "lr": 1e-2, "quiet": True}
    result = mc.finetune(hybrid, task, leave_one_out=True, **setting)  # type: ignore[arg-type]
    mix = LeaveOneOut.load(out)
    assert list(mix.without) == list(mix.mix) == list(mix.before) == ["word.txt", "line.txt"]
    sizes = _validation_bytes(files)
    for scores, known in ((mix.before, result.scores.before), (mix.mix, result.scores.after)):
        assert np.average([scores[name] for name in sizes], weights=list(sizes.values())) == pytest.approx(
            known.value, rel=1e-5
        )
    assert mix.without["word.txt"] != mix.mix
    assert "what word.txt adds" in (out / "report.html").read_text("utf-8")
    again = mc.finetune(hybrid, task, leave_one_out=True, resume=True, **setting)  # type: ignore[arg-type]
    assert (again.scores, LeaveOneOut.load(out)) == (result.scores, mix)


def _validation_bytes(files: list[Path]) -> dict[str, int]:
    task = text(options(*files)).with_tokenizer(hybrid_tokenizer())
    parts = Domains.of(options(*files)).validation(task)
    return {name: int(np.sum(part.num_bytes)) for name, part in parts.items()}


def test_wrong_uses_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hybrid, file = export_hybrid(tmp_path / "hybrid"), write_domain(tmp_path, "word")
    assert "no run folder" in refusal(capsys, "report", str(hybrid), "--analyze")
    assert "--trust-code goes with --analyze" in refusal(capsys, "report", str(hybrid), "--trust-code")
    assert "give one of --watch and --analyze" in refusal(capsys, "report", str(hybrid), "--watch", "--analyze")
    tune = ["finetune", str(hybrid), "--out", str(tmp_path / "out"), "--task", "text", "--data-dir", str(file)]
    assert "here is a single file" in refusal(capsys, *tune, "--leave-one-out")
    assert "several; name the one" in refusal(capsys, *tune, "--leave-one-out", "--adapter", "more-trials")
    assert not (tmp_path / "out").exists()
