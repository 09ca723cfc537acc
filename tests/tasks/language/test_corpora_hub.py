"""Corpora loaded by `datasets` have the same documents in the same splits as from their files."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from manticore.tasks.catalog import load_task
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions

ALPACA = [
    {"instruction": f"Task {index % 20}.", "input": f"No. {index} 😀" if index % 3 else "", "output": f"Done {index}."}
    for index in range(60)
]
ELI5 = [{"question": f"Why {index // 2}? ", "answer": f"Because {index}.\n\nNo?"} for index in range(60)]
CARD = "---\nconfigs:\n- config_name: pair\n  data_files:\n  - {split: train, path: pair/train.parquet}\n---\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the hub: `datasets` first looks for a dataset in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("manticore.tasks.hub.hub_answers", lambda *_: True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    alpaca, eli5 = tmp_path / "tatsu-lab" / "alpaca", tmp_path / "sentence-transformers" / "eli5"
    (alpaca / "data").mkdir(parents=True)
    (eli5 / "pair").mkdir(parents=True)
    lost = {"instruction": "Lost", "input": "", "output": None}
    rows = [{**row, "input": row["input"] or None, "text": "Below is an instruction"} for row in [*ALPACA, lost]]
    datasets.Dataset.from_list(rows).to_parquet(alpaca / "data" / "train.parquet")
    datasets.Dataset.from_list([*ELI5, {"question": "Lost?", "answer": None}]).to_parquet(
        eli5 / "pair" / "train.parquet"
    )
    (eli5 / "README.md").write_text(CARD)
    return tmp_path


def task(name: str, folder: Path | None = None) -> LanguageTask:
    loaded = load_task(TaskOptions(name, data_dir=None if folder is None else str(folder)))
    assert isinstance(loaded, LanguageTask)
    return loaded


@pytest.mark.parametrize(
    ("name", "count", "document"),
    [
        ("alpaca", 60, "### Instruction:\nTask 4.\n\n### Input:\nNo. 4 😀\n\n### Response:\nDone 4."),
        ("eli5", 30, "Why 2?\n\nBecause 4.\n\nNo?\n\nBecause 5.\n\nNo?"),
    ],
)
def test_from_the_hub_as_from_files(hub: Path, name: str, count: int, document: str) -> None:
    (hub / "alpaca_data.json").write_text(json.dumps(ALPACA))
    (hub / "eli5.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ELI5))
    from_hub, from_files = task(name).texts(), task(name, hub).texts()
    assert from_hub == from_files
    texts = [*from_hub.train, *from_hub.val, *from_hub.test]
    assert len(texts) == len(set(texts)) == count
    assert sum(document in text for text in texts) == 1
    assert all((from_hub.train, from_hub.val, from_hub.test))
