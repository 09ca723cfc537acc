"""Language tasks: every token told once, documents apart, parts disjoint, bytes the same whoever reads."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFC, Lowercase, Normalizer, Replace
from tokenizers.pre_tokenizers import PreTokenizer, Split, Whitespace, WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.catalog import load_task, task_info, write_task
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.splitting import DocumentSplits, group_documents, grouped, size_of
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import PARTS
from manticore.training.scoring import bits_per_byte, score
from tests.helpers.pico import component
from tests.helpers.trained_tokenizers import reader, sample


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=6), st.integers(2, 9))
def test_every_token_is_told_once_from_its_own_document(documents: list[str], length: int) -> None:
    words = reader()
    examples = chunk(documents, words, length)
    assert examples.sizes is not None
    assert examples.groups is not None
    for number, text in enumerate(documents):
        rows = np.flatnonzero(examples.groups == number)
        held = [examples[int(row)] for row in rows]
        ids = words(text, add_special_tokens=False)["input_ids"]
        assert np.concatenate([labels for _, labels in held]).tolist() == [*ids, words.eos_token_id]
        assert np.concatenate([given for given, _ in held]).tolist() == [words.bos_token_id, *ids]
        assert all(len(given) <= length for given, _ in held)
        assert examples.sizes[rows].sum() == len(text.encode())
        assert (examples.sizes[rows] >= 0).all()


def test_no_state_leaks_from_one_document_to_the_next() -> None:
    """Another first document changes no logit of the second, for a recurrent model as for one that attends."""
    words = reader()
    second = sample()[3][:200]
    for family in ("mamba", "gpt_neo"):
        model = component(family).model
        rows = []
        for first in (sample()[0][:150], sample()[1][:300]):
            examples = chunk([first, second], words, 32)
            batch = LanguageTask("text", lambda: None, 32, 0, "", {}, words).collate(list(examples))  # type: ignore[arg-type, return-value]
            batch["input_ids"] %= 61
            with torch.no_grad():
                logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            mine = examples.groups == 1
            scored = batch["attention_mask"].bool()[mine]
            rows.append(logits[mine][scored])
        torch.testing.assert_close(rows[0], rows[1], atol=1e-5, rtol=0)


def test_four_parts_share_no_document() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="has no tokenizer; call with_tokenizer first"):
        task.splits()
    read = task.with_tokenizer(reader())
    assert read.with_tokenizer(reader()).texts() is read.texts()
    assert task.with_tokenizer(reader()) is read
    splits = read.splits()
    texts = task.texts()
    documents = task.documents()
    assert sorted(documents["train"] + documents["train_arch"]) == sorted(texts.train)
    groups = [{texts.groups[text] for text in held} for held in documents.values()]
    assert all(len(held) >= 4 for held in groups)
    assert sum(map(len, groups)) == len(set.union(*groups)), "no group is in two splits"
    assert splits.test.sizes is not None
    assert splits.test.sizes.sum() == sum(len(text.encode()) for text in texts.test)
    halves = [splits.train, splits.train_arch]
    assert sum(len(held.flat) for held in halves) > 0.97 * sum(len(reader()(text)["input_ids"]) for text in texts.train)
    assert "bits" not in read.describe()
    assert f"{reader().vocab_size:,} kinds of token" in read.describe()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=20), st.integers(0, 9))
def test_passages_of_one_document_stay_together(sizes: list[int], seed: int) -> None:
    """Unless it is larger than what is tested on; then those that follow each other do."""
    documents = [
        "\n\n".join(f"document {number} passage {place:03}" for place in range(size))
        for number, size in enumerate(sizes)
    ]
    pool = grouped(documents, 30)
    texts = DocumentSplits.divided([pool], seed, "here")
    parts = [texts.test, texts.val, *texts.halves(seed, "here")]
    assert sorted(text for part in parts for text in part) == sorted(pool)
    assert all(parts)
    base = {text: place for place, part in enumerate(parts) for text in part}
    whole, runs = size_of(pool), group_documents(pool, pool)
    assert all(len({base[text] for text in run}) == 1 for run in runs)
    for number in range(len(sizes)):
        mine = [text for text in pool if text.startswith(f"document {number} ")]
        assert len({base[text] for text in mine}) == 1 or size_of(mine) > whole / 10
    assert all(size_of(part) <= whole / 10 + max(map(size_of, runs)) for part in parts[:2])


def test_files_that_share_a_group_are_divided_together(tmp_path: Path) -> None:
    """Each by itself a group may stand in train of one and in test of the other."""
    for name, numbers in (("a", range(40)), ("b", range(10, 60))):
        lines = [json.dumps({"text": f"document {number}\n\n{name}", "group": number}) for number in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    parts = task.documents()
    names = {part: {text.split("\n")[0] for text in held} for part, held in parts.items()}
    assert sum(map(len, names.values())) == len(set().union(*names.values()))
    assert sum(map(len, parts.values())) == 90
    assert all(len(held) > 5 for held in parts.values())


def test_what_is_tested_on_is_not_learnt_from_whoever_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A document that stands in train and test, or a passage of one; how the rest begins is nobody's business."""
    header = "It may be copied, if this notice stands on every copy of it.\n\n"
    texts = {
        part: [f"{header}{part} {number} tells of this\n\nand of that {part} {number}" for number in range(9)]
        for part in PARTS
    }
    texts["train"] += texts["test"][:2]
    for part, held in texts.items():
        lines = [json.dumps({"text": text, "group": number}) for number, text in enumerate(held)]  # from 0 in each
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text@passage=70", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    told = task.texts()
    assert len(told.test) == 1 + 9
    assert len(told.val) == len(told.train) == 9
    assert not set(told.train) & {*told.test, *told.val}
    assert "are dropped: they occur in test" in caplog.text
    assert len(load_task(TaskOptions("text@passage=70", data_dir=str(tmp_path), train=9)).texts().train) == 9  # type: ignore[attr-defined]


def test_files_that_only_begin_like_a_part_are_no_parts(tmp_path: Path) -> None:
    for name in ("test_drive", "novel", "essay1"):
        lines = [json.dumps({"text": f"{name} {number}"}) for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    assert sum(map(len, task.documents().values())) == 60


@pytest.mark.parametrize(
    "names", [("train_0", "dev_0", "test_0"), ("Train", "Validation", "Test"), ("train1", "val", "test.2")]
)
def test_parts_may_be_named_in_several_ways(names: tuple[str, str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    texts = task.texts()
    assert [held[0] for held in (texts.train, texts.val, texts.test)] == [f"{name} one." for name in names]


def test_all_of_a_part_in_another_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text("the same", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="all documents of val also occur in the parts it must not touch"):
        task.texts()


def test_a_file_too_many_beside_named_parts_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "test", "more-notes"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    with pytest.raises(BadFile, match=r"more-notes\.txt: is none of train, val, test"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_parts_are_named_all_or_not_at_all(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    with pytest.raises(BadFile, match="has files for some parts and none for val"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_special_tokens_of_a_tokenizer_are_its_own_affair() -> None:
    """Llama 2 has some of those that our own small vocabularies have all or none of."""
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "one": 3, "<pad>": 4})),
        bos_token="<s>",
        eos_token="</s>",
    )
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    assert task.with_tokenizer(words).vocabulary.size == 5


def test_all_files_are_in_all_parts(tmp_path: Path) -> None:
    for name in ("prose", "source"):
        documents = [f"{name} {number} " + "word " * (number % 9) for number in range(60)]
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    for part, held in task.documents().items():
        share = sum(text.startswith("prose") for text in held) / len(held)
        assert 0.25 < share < 0.75, part


def test_the_length_is_that_of_the_machine_if_no_preset_is_named() -> None:
    there = torch.cuda.is_available()
    assert load_task(TaskOptions("text")).max_length == (1024 if there else 256)


def test_what_is_read_as_unknown_counts_no_bytes() -> None:
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"one": 0, "two": 1, "[UNK]": 2, "<end>": 3}, unk_token="[UNK]")),
        unk_token="[UNK]",
        eos_token="<end>",
    )
    words.backend_tokenizer.pre_tokenizer = Whitespace()
    assert chunk(["one two"], words, 9).sizes.sum() == len("onetwo")  # type: ignore[union-attr]
    assert chunk(["one drei two"], words, 9).sizes.sum() == len("onetwo")  # type: ignore[union-attr]


def test_a_tokenizer_that_makes_letters_small_is_refused() -> None:
    words = copy.deepcopy(reader())
    words.backend_tokenizer.normalizer = Lowercase()
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="reads capitals as small letters"):
        task.with_tokenizer(words)


def test_bytes_are_the_same_whoever_reads() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64", test=9, val=9, train=30))
    assert isinstance(task, LanguageTask)
    sizes = [task.with_tokenizer(reader(size)).splits().test.sizes for size in (300, 512)]
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert len(sizes[0]) > len(sizes[1])
    assert sizes[0].sum() == sizes[1].sum()


def test_bits_per_byte_of_a_model_that_knows_nothing() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64", test=9, val=9, train=30))
    assert isinstance(task, LanguageTask)
    read = task.with_tokenizer(reader())

    class Nothing(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*input_ids.shape, 512)

    told = score(Nothing(), read.splits().test, read.collate, 16)
    tokens = sum(len(reader()(text)["input_ids"]) + 1 for text in task.texts().test)
    size = sum(len(text.encode()) for text in task.texts().test)
    assert told.bits_per_byte == pytest.approx(tokens * math.log2(512) / size, rel=1e-6)
    assert told.sort_key == -told.bits_per_byte
    assert set(told.to_dict()) == {"loss", "count", "bits_per_byte", "margin"}


def test_chunks_of_one_document_hang_together() -> None:
    nats, sizes = np.array([2.0, 2.0, 4.0, 4.0]), np.array([2, 2, 2, 2])
    apart = bits_per_byte(nats, sizes, None)
    together = bits_per_byte(nats, sizes, np.array([0, 0, 1, 1]))
    assert apart[0] == together[0] == pytest.approx(1.5 / math.log(2))
    assert (apart[1], together[1]) == pytest.approx((math.sqrt(4 / 3) / 4 / math.log(2), 0.5 / math.log(2)))
    assert bits_per_byte(nats, sizes, np.zeros(4, int)) == (apart[0], None), "one document says nothing of others"


def test_named_files_are_the_parts(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    assert task.name == f"text:{tmp_path.name}"
    assert task.texts().val == ["validation one.", "validation two."]
    assert task.texts().test == ["test one.", "test two."]


def test_written_and_read_again(tmp_path: Path) -> None:
    files = write_task(TaskOptions("text@passage=4000"), tmp_path)
    assert [file.name for file in files] == ["train.jsonl", "val.jsonl", "test.jsonl"]
    held = [load_task(TaskOptions("text@passage=4000", data_dir=place)) for place in (None, str(tmp_path))]
    assert isinstance(held[0], LanguageTask)
    assert isinstance(held[1], LanguageTask)
    for part in ("train", "val", "test"):
        assert getattr(held[0].texts(), part) == getattr(held[1].texts(), part)
    assert held[0].documents() == held[1].documents()  # halves of train too: passages know which document they are of
    with pytest.raises(ManticoreError, match="exists"):
        write_task(TaskOptions("text"), tmp_path)


class Dropping(NamedTuple):
    """A tokenizer that does not tell all of a text, a text, and the bytes of it that it tells."""

    normalizer: Normalizer | None
    pre_tokenizer: PreTokenizer
    text: str
    bytes: int


@pytest.mark.parametrize(
    "given",
    [
        Dropping(None, WhitespaceSplit(), "one  two\n\n one", 9),
        Dropping(None, Split(Regex(r"\s+"), "removed"), "one two ", 6),
        Dropping(Replace("t", ""), Split(" ", "isolated"), "one two", 6),
        Dropping(None, Split(Regex(r"\s"), "isolated"), "one  two\n\n one", 14),
        Dropping(NFC(), Split(" ", "isolated"), "cafe\u0301 \u1112\u1161\u11ab \u1ec7", 20),
        Dropping(NFC(), Split(" ", "isolated"), "e\u0323\u0302 one", 9),
    ],
)
def test_what_a_tokenizer_does_not_tell_counts_no_bytes(given: Dropping) -> None:
    """It would be credited with them; blanks between words count where it tells two from one, and a line's end."""
    known = ["<eos>", "<unk>", "one", "two", "wo", " ", "\n", "caf\u00e9", "\ud55c", "\u1ec7"]
    core = Tokenizer(WordLevel({word: place for place, word in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = given.pre_tokenizer
    if given.normalizer is not None:
        core.normalizer = given.normalizer
    words = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")
    sizes = chunk([given.text], words, 3).sizes
    assert sizes is not None
    assert sizes.sum() == given.bytes


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo", encoding="utf-8")
    for options, said in (
        (TaskOptions("text", data_dir=str(tmp_path)), "no four parts can be made"),
        (TaskOptions("text", data_dir="nowhere.txt"), "no such file or folder of text: nowhere.txt"),
        (TaskOptions("text", test=10**6), "test examples are asked for"),
    ):
        task = load_task(options)
        assert isinstance(task, LanguageTask)
        with pytest.raises(ManticoreError, match=said):
            task.texts()
    with pytest.raises(ManticoreError, match="unknown setting of text 'lenght'"):
        load_task(TaskOptions("text@lenght=3"))
    (tmp_path / "b.txt").write_bytes(b"\0")
    with pytest.raises(BadFile, match="zero byte"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_the_sheet_needs_no_text() -> None:
    sheet = task_info(TaskOptions("text", preset="cpu"))
    assert (sheet.kind, sheet.metric, sheet.max_length) == ("lm", "bits_per_byte", 256)
