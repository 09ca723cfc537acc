"""LiNeS: the update of a fine-tuning scaled with depth; the factor is given, or chosen with a control text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import manticore as mc
from manticore.export.load import load_hybrid
from manticore.training.depth import update_scales
from tests.adapters.test_commands import finetune, weights
from tests.helpers.cli import call, refusal
from tests.helpers.text_hybrids import export_hybrid, pico_hybrid


def text_folder(folder: Path, word: str) -> Path:
    folder.mkdir()
    for index in range(12):
        text = " ".join(f"It is the {index * 7 + part} th {word} of a text." for part in range(40))
        (folder / f"{index}.txt").write_text(text, encoding="utf-8")
    return folder


def tuned(tmp_path: Path) -> tuple[Path, Path]:
    """A hybrid, and its fine-tuning on a text."""
    hybrid, out = export_hybrid(tmp_path / "hybrid"), tmp_path / "tuned"
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": text_folder(tmp_path / "data", "word")}
    mc.finetune(hybrid, task, out=out, steps=8, batch_size=4, lr=3e-3, quiet=True)
    return hybrid, out


def test_factors_grow_linearly_with_the_layers_of_the_path() -> None:
    model = pico_hybrid()  # Mamba's first layers, then GPT-2's
    scales = update_scales(model, 0.2)
    layers = sorted({scale for name, scale in scales.items() if ".segment." in name})
    steps = {round(second - first, 6) for first, second in pairwise(layers)}
    assert (layers[0], layers[-1]) == pytest.approx((0.2, 1.0))
    assert len(steps) == 1
    assert scales["model.embed.tokens.weight"] == pytest.approx(0.2)
    assert scales["model.norm.weight"] == pytest.approx(1.0)
    assert set(update_scales(model, 1.0).values()) == {1.0}


def test_an_export_scales_the_update(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hybrid, out = tuned(tmp_path)
    for factor in ("0.3", "1"):
        assert call(capsys, "export", out, "--lines", factor, "--out", tmp_path / factor)[0] == 0
    before, after = load_file(hybrid / "model.safetensors"), weights(out)
    scaled, same = (load_file(tmp_path / factor / "model.safetensors") for factor in ("0.3", "1"))
    scales = update_scales(load_hybrid(out), 0.3)
    moved = 0
    for name, scale in scales.items():
        torch.testing.assert_close(scaled[name], before[name] + scale * (after[name] - before[name]), atol=1e-6, rtol=0)
        torch.testing.assert_close(same[name], after[name], atol=1e-6, rtol=0)
        moved += not torch.equal(scaled[name], after[name])
    assert moved
    assert "factor 0.3 at the first layer" in (tmp_path / "0.3" / "README.md").read_text()


def test_the_factor_is_chosen_with_a_control_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out = tuned(tmp_path)
    control = text_folder(tmp_path / "control", "other word")
    arguments = ("export", out, "--lines-control", control, "--out", tmp_path / "chosen")
    status, text, err = call(capsys, *arguments)
    assert (status, err) == (0, "")
    rows = [tuple(map(float, row)) for row in re.findall(r"factor (\S+): target (\S+), control (\S+) bits", text)]
    assert [row[0] for row in rows] == [step / 10 for step in range(11)]
    limit = rows[-1][1] * 1.01
    best = min(control for _, target, control in rows if target <= limit)
    chosen = float(re.findall(r"with the factor (\S+) at", text)[-1])
    assert next(row for row in rows if row[0] == chosen)[2] == best
    assert "It was chosen on the validation split" in (tmp_path / "chosen" / "README.md").read_text()


def test_wrong_uses_are_one_line(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    assert call(capsys, *finetune(pico_run, tmp_path / "a", steps=2))[0] == 0
    out = tmp_path / "out"
    text = text_folder(tmp_path / "text", "word")
    for arguments, message in (
        ([pico_run, "--lines", "0.5"], "is no finished fine-tuning"),
        ([tmp_path / "a", "--lines", "1.5"], "at most 1"),
        ([tmp_path / "a", "--lines-control", text], "this hybrid predicts labels; give --lines a number"),
        ([tmp_path / "a", "--lines", "0.5", "--lines-control", text], "give one of"),
        ([tmp_path / "a", "--lines", "0.5", "--native"], "goes with a folder and --out alone"),
    ):
        assert message in refusal(capsys, "export", *arguments, "--out", out)
        assert not out.exists()
