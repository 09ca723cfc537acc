"""Trials of the size of MoRe: successive halving under a budget, reported against fixed sizes and LoRA, resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manticore.adapters.attach import attach
from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError
from manticore.export.load import load_hybrid
from manticore.pipelines.adapter_trials import TRIALS_FILE, SizeTrials
from tests.adapters.test_commands import changed, finetune, weights
from tests.helpers.cli import PICO, call, refusal

pytestmark = pytest.mark.e2e

SIZES = [[1, 1], [2, 2], [2, 1], [1, 8]]


def trials(**options: object) -> list[str]:
    return ["--adapter", "more-trials", "--set", f"adapter.options={json.dumps({'configurations': SIZES, **options})}"]


def test_the_better_half_is_kept_and_compared_with_others(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = finetune(pico_run, out, *trials(max_parameters=8000), steps=12)
    status, text, err = call(capsys, *command)
    assert (status, err) == (0, "")
    assert "over the budget: 1x8" in text
    record = json.loads((out / TRIALS_FILE).read_text())
    assert record["parameters"]["1x8"] > 8000 >= record["parameters"]["2x2"]
    losses = record["losses"]
    assert "1x8" not in losses
    assert all("2" in steps for steps in losses.values())  # 12 steps, two rounds: three sizes for 2 steps each
    final = {name: steps["5"] for name, steps in losses.items() if "5" in steps}  # then two for 3 more
    assert len(final) == 2
    assert set(final) == set(sorted(losses, key=lambda name: losses[name]["2"])[:2])
    selected = "x".join(map(str, record["selected"]))
    assert selected == min(final, key=lambda name: final[name])
    blocks, rank = record["selected"]
    rows = [f"trials {selected}", "fixed 4x4", f"lora {rank}, equal parameters"]
    assert list(record["rows"]) == rows + ([f"lora {blocks * rank}, equal rank"] if blocks > 1 else [])
    names = {name for name in changed(weights(pico_run), weights(out)) if ".segment." in name}
    assert names
    load_hybrid(out)

    def never(*arguments: object) -> None:
        raise AssertionError("a finished trial is trained again")

    monkeypatch.setattr(SizeTrials, "_train", never)
    assert "complete; nothing to do" in call(capsys, *command, "--resume")[1]
    for folder in (out / "hybrid").iterdir():
        folder.unlink()
    (out / "hybrid").rmdir()
    assert call(capsys, *command, "--resume")[0] == 0
    assert (out / "hybrid" / "model.safetensors").exists()
    other = finetune(pico_run, out, *trials(max_parameters=9000), "--resume", steps=12)
    assert "max_parameters was 8000 and is 9000 now" in refusal(capsys, *other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_parameters": 10}, "no size of adapter.options.configurations is within the budget: the smallest needs"),
        ({"steps": 3}, "trials of 4 sizes need 8 steps, and adapter.options.steps is 3"),
        ({"configurations": [[1]]}, "pairs of blocks and rank"),
        ({"configurations": [[99, 1]]}, "all have too many blocks"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    assert message in refusal(capsys, *finetune(pico_run, tmp_path / "out", *trials(**options)))
    assert not (tmp_path / "out").exists()


def test_trials_are_for_finetune(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    message = refusal(capsys, "search", *PICO, "--adapter", "more-trials", "--out", tmp_path / "out")
    assert "use it with manticore finetune" in message
    with pytest.raises(ManticoreError, match="no adapter of a model; use more"):
        attach(load_hybrid(pico_run), AdapterOptions("more-trials"))
