"""Sequences of random tokens that occur twice, in a fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import manticore as mc
from manticore.errors import ManticoreError
from manticore.export.own_task import FINETUNING
from manticore.tasks.dataset import IGNORE, Examples
from manticore.tasks.language.copies import with_copies
from tests.helpers.text_hybrids import export_hybrid
from tests.training.test_divergence import text_folder


def blocks(count: int, length: int) -> Examples:
    ids_NL = np.arange(count * length, dtype=np.uint16).reshape(count, length) % 40
    return Examples.from_arrays(ids_NL, np.roll(ids_NL, -1, 1).astype(np.int64))


@pytest.mark.parametrize("length", [12, 13])
def test_a_share_of_the_sequences_occurs_twice_and_the_rest_is_the_text(length: int) -> None:
    text = blocks(8, length)
    mixed = with_copies(text, 0.25, seed=1)
    for index, (ids, labels) in enumerate(mixed):
        if index not in (0, 4):
            assert all(np.array_equal(*pair) for pair in zip((ids, labels), text[index], strict=True))
            continue
        half = length // 2
        assert len(set(ids[:half])) == half
        assert set(ids[:half]) <= set(range(40))
        assert ids.tolist() == np.resize(ids[:half], length).tolist()
        assert labels.tolist() == [IGNORE] * half + ids[half + 1 :].tolist() + [IGNORE]
    assert not np.array_equal(mixed[0][0], mixed[4][0])
    assert np.array_equal(mixed.flat, with_copies(text, 0.25, seed=1).flat)
    assert not np.array_equal(mixed.flat, with_copies(text, 0.25, seed=2).flat)


def test_without_a_share_and_for_short_sequences_the_examples_stay() -> None:
    text = blocks(8, 12)
    assert with_copies(text, 0.0, seed=1) is text
    short = blocks(8, 3)
    assert np.array_equal(with_copies(short, 1.0, seed=1).flat, short.flat)


def test_a_fine_tuning_records_its_share_and_a_resume_needs_the_same(tmp_path: Path) -> None:
    hybrid, out = export_hybrid(tmp_path / "hybrid"), tmp_path / "out"
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": text_folder(tmp_path / "data")}
    mc.finetune(hybrid, task, out=out, steps=2, batch_size=4, set={"finetune.copies": 0.25}, quiet=True)
    assert json.loads((out / FINETUNING).read_text(encoding="utf-8"))["copies"] == 0.25
    with pytest.raises(ManticoreError, match="copies"):
        mc.finetune(hybrid, task, out=out, steps=2, batch_size=4, resume=True, quiet=True)


def test_a_classification_is_refused(tmp_path: Path) -> None:
    listops = {"name": "lra-listops", "preset": "cpu"}
    space, options = mc.SearchSpace(["gpt-neo", "mamba"]), {"finetune.copies": 0.25}
    with pytest.raises(ManticoreError, match=r"finetune.copies is for language models, and lra-listops@short is learn"):
        mc.search(space, listops, out=tmp_path / "run", set=options, quiet=True)
    assert not (tmp_path / "run").exists()
