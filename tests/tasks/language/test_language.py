"""Language tasks: each token is predicted once, splits are disjoint, and bytes do not depend on the tokenizer."""

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
from manticore.tasks.language.splitting import DocumentSplits, group_documents, group_passages, num_bytes
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SPLIT_NAMES
from manticore.training.scoring import bits_per_byte, score
from tests.helpers.pico import component
from tests.helpers.trained_tokenizers import sample, small_tokenizer


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=6), st.integers(2, 9))
def test_every_token_is_predicted_once_from_its_own_document(documents: list[str], length: int) -> None:
    tokenizer = small_tokenizer()
    examples = chunk(documents, tokenizer, length)
    assert examples.num_bytes is not None
    assert examples.groups is not None
    for number, text in enumerate(documents):
        rows = np.flatnonzero(examples.groups == number)
        chunks = [examples[int(row)] for row in rows]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert np.concatenate([labels for _, labels in chunks]).tolist() == [*ids, tokenizer.eos_token_id]
        assert np.concatenate([inputs for inputs, _ in chunks]).tolist() == [tokenizer.bos_token_id, *ids]
        assert all(len(inputs) <= length for inputs, _ in chunks)
        assert examples.num_bytes[rows].sum() == len(text.encode())
        assert (examples.num_bytes[rows] >= 0).all()


def test_no_state_leaks_from_one_document_to_the_next() -> None:
    """The logits of the second document do not depend on the first, in a recurrent model and with attention."""
    tokenizer = small_tokenizer()
    second = sample()[3][:200]
    for family in ("mamba", "gpt_neo"):
        model = component(family).model
        rows = []
        for first in (sample()[0][:150], sample()[1][:300]):
            examples = chunk([first, second], tokenizer, 32)
            batch = LanguageTask("text", lambda: None, 32, 0, "", {}, tokenizer).collate(list(examples))  # type: ignore[arg-type, return-value]
            batch["input_ids"] %= 61
            with torch.no_grad():
                logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            in_second = examples.groups == 1
            scored = batch["attention_mask"].bool()[in_second]
            rows.append(logits[in_second][scored])
        torch.testing.assert_close(rows[0], rows[1], atol=1e-5, rtol=0)


def test_splits_share_no_document() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="has no tokenizer; call with_tokenizer first"):
        task.splits()
    read = task.with_tokenizer(small_tokenizer())
    assert read.with_tokenizer(small_tokenizer()).texts() is read.texts()
    assert read.with_tokenizer(small_tokenizer()) is read
    assert task.with_tokenizer(small_tokenizer()) is read
    splits = read.splits()
    texts = task.texts()
    documents = task.documents()
    assert sorted(documents["train"] + documents["train_arch"]) == sorted(texts.train)
    groups = [{texts.groups[text] for text in split} for split in documents.values()]
    assert all(len(names) >= 4 for names in groups)
    assert sum(map(len, groups)) == len(set.union(*groups)), "no group is in two splits"
    assert splits.test.num_bytes is not None
    assert splits.test.num_bytes.sum() == sum(len(text.encode()) for text in texts.test)
    tokens = len(splits.train.flat) + len(splits.train_arch.flat)
    assert tokens > 0.97 * sum(len(small_tokenizer()(text)["input_ids"]) for text in texts.train)
    assert "bits" not in read.describe()
    assert f"vocabulary of {small_tokenizer().vocab_size:,} tokens" in read.describe()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=20), st.integers(0, 9))
def test_passages_of_one_document_stay_together(sizes: list[int], seed: int) -> None:
    """Unless the document is larger than a held-out split; then spans of consecutive passages stay together."""
    documents = [
        "\n\n".join(f"document {number} passage {index:03}" for index in range(size))
        for number, size in enumerate(sizes)
    ]
    pool = group_passages(documents, 30)
    texts = DocumentSplits.split([pool], seed, "here")
    splits = [texts.test, texts.val, *texts.halves(seed, "here")]
    assert sorted(text for split in splits for text in split) == sorted(pool)
    assert all(splits)
    split_of = {text: index for index, split in enumerate(splits) for text in split}
    total, groups = num_bytes(pool), group_documents(pool, pool)
    assert all(len({split_of[text] for text in group}) == 1 for group in groups)
    for number in range(len(sizes)):
        document = [text for text in pool if text.startswith(f"document {number} ")]
        assert len({split_of[text] for text in document}) == 1 or num_bytes(document) > total / 10
    assert all(num_bytes(split) <= total / 10 + max(map(num_bytes, groups)) for split in splits[:2])


def test_files_that_share_a_group_are_split_together(tmp_path: Path) -> None:
    """If each were split separately, a group could be in train of one and in test of the other."""
    for name, numbers in (("a", range(40)), ("b", range(10, 60))):
        lines = [json.dumps({"text": f"document {number}\n\n{name}", "group": number}) for number in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    splits = task.documents()
    groups = {split: {text.split("\n")[0] for text in texts} for split, texts in splits.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    assert sum(map(len, splits.values())) == 90
    assert all(len(texts) > 5 for texts in splits.values())


def test_overlap_of_named_splits_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A document in train and test is dropped from train, and so are its passages; a shared header is no overlap."""
    header = "It may be copied, if this notice stands on every copy of it.\n\n"
    texts = {
        split: [f"{header}{split} {number} tells of this\n\nand of that {split} {number}" for number in range(9)]
        for split in SPLIT_NAMES
    }
    texts["train"] += texts["test"][:2]
    for split, documents in texts.items():
        lines = [json.dumps({"text": text, "group": number}) for number, text in enumerate(documents)]  # from 0 in each
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text@passage=70", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    splits = task.texts()
    assert len(splits.test) == 1 + 9
    assert len(splits.val) == len(splits.train) == 9
    assert not set(splits.train) & {*splits.test, *splits.val}
    assert "which also occur in test or val" in caplog.text
    assert len(load_task(TaskOptions("text@passage=70", data_dir=str(tmp_path), train=9)).texts().train) == 9  # type: ignore[attr-defined]


def test_files_whose_names_only_begin_like_a_split_are_one_pool(tmp_path: Path) -> None:
    for name in ("test_drive", "novel", "essay1"):
        lines = [json.dumps({"text": f"{name} {number}"}) for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    assert sum(map(len, task.documents().values())) == 60


@pytest.mark.parametrize(
    "names", [("train_0", "dev_0", "test_0"), ("Train", "Validation", "Test"), ("train1", "val", "test.2")]
)
def test_splits_may_be_named_in_several_ways(names: tuple[str, str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    texts = task.texts()
    assert [split[0] for split in (texts.train, texts.val, texts.test)] == [f"{name} one." for name in names]


def test_a_split_that_is_all_in_another_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text("the same", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="all documents of val also occur in the splits it must not overlap"):
        task.texts()


def test_another_file_beside_named_splits_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "test", "more-notes"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    with pytest.raises(BadFile, match=r"more-notes\.txt: is none of train, val, test"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_all_splits_are_named_or_none(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    with pytest.raises(BadFile, match="has files for some splits and none for val"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_a_tokenizer_may_have_some_special_tokens() -> None:
    """Llama 2 has some of the special tokens of which a `Vocabulary` has all or none."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "one": 3, "<pad>": 4})),
        bos_token="<s>",
        eos_token="</s>",
    )
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    assert task.with_tokenizer(tokenizer).vocabulary.size == 5


def test_all_files_are_in_all_splits(tmp_path: Path) -> None:
    for name in ("prose", "source"):
        documents = [f"{name} {number} " + "word " * (number % 9) for number in range(60)]
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    for split, texts in task.documents().items():
        share = sum(text.startswith("prose") for text in texts) / len(texts)
        assert 0.25 < share < 0.75, split


def test_the_default_length_depends_on_the_machine() -> None:
    assert load_task(TaskOptions("text")).max_length == (1024 if torch.cuda.is_available() else 256)


def test_unknown_tokens_count_no_bytes() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"one": 0, "two": 1, "[UNK]": 2, "<end>": 3}, unk_token="[UNK]")),
        unk_token="[UNK]",
        eos_token="<end>",
    )
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    assert chunk(["one two"], tokenizer, 9).num_bytes.sum() == len("onetwo")  # type: ignore[union-attr]
    assert chunk(["one drei two"], tokenizer, 9).num_bytes.sum() == len("onetwo")  # type: ignore[union-attr]


def test_a_tokenizer_that_lowercases_is_refused() -> None:
    tokenizer = copy.deepcopy(small_tokenizer())
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    task = load_task(TaskOptions("text@passage=4000,length=64"))
    assert isinstance(task, LanguageTask)
    with pytest.raises(ManticoreError, match="lowercases text"):
        task.with_tokenizer(tokenizer)


def test_bytes_do_not_depend_on_the_tokenizer() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64", test=9, val=9, train=30))
    assert isinstance(task, LanguageTask)
    sizes = [task.with_tokenizer(small_tokenizer(size)).splits().test.num_bytes for size in (300, 512)]
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert len(sizes[0]) > len(sizes[1])
    assert sizes[0].sum() == sizes[1].sum()


def test_bits_per_byte_of_a_uniform_model() -> None:
    task = load_task(TaskOptions("text@passage=4000,length=64", test=9, val=9, train=30))
    assert isinstance(task, LanguageTask)
    read = task.with_tokenizer(small_tokenizer())

    class Uniform(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*input_ids.shape, 512)

    result = score(Uniform(), read.splits().test, read.collate, 16)
    tokens = sum(len(small_tokenizer()(text)["input_ids"]) + 1 for text in task.texts().test)
    size = sum(len(text.encode()) for text in task.texts().test)
    assert result.bits_per_byte == pytest.approx(tokens * math.log2(512) / size, rel=1e-6)
    assert result.sort_key == -result.bits_per_byte
    assert set(result.to_dict()) == {"loss", "count", "bits_per_byte", "margin"}


def test_chunks_of_one_document_are_one_cluster() -> None:
    nats, sizes = np.array([2.0, 2.0, 4.0, 4.0]), np.array([2, 2, 2, 2])
    separate = bits_per_byte(nats, sizes, None)
    grouped = bits_per_byte(nats, sizes, np.array([0, 0, 1, 1]))
    assert separate[0] == grouped[0] == pytest.approx(1.5 / math.log(2))
    assert (separate[1], grouped[1]) == pytest.approx((math.sqrt(4 / 3) / 4 / math.log(2), 0.5 / math.log(2)))
    assert bits_per_byte(nats, sizes, np.zeros(4, int)) == (separate[0], None), "one document has no variance"


def test_named_files_are_the_splits(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one.\n<|endoftext|>\n{name} two.", encoding="utf-8")
    task = load_task(TaskOptions("text", data_dir=str(tmp_path)))
    assert isinstance(task, LanguageTask)
    assert task.name == f"text:{tmp_path.name}"
    assert task.texts().val == ["validation one.", "validation two."]
    assert task.texts().test == ["test one.", "test two."]


def test_written_files_are_read_back(tmp_path: Path) -> None:
    files = write_task(TaskOptions("text@passage=4000"), tmp_path)
    assert [file.name for file in files] == ["train.jsonl", "val.jsonl", "test.jsonl"]
    sample = load_task(TaskOptions("text@passage=4000"))
    read = load_task(TaskOptions("text@passage=4000", data_dir=str(tmp_path)))
    assert isinstance(sample, LanguageTask)
    assert isinstance(read, LanguageTask)
    for split in SPLIT_NAMES:
        assert getattr(sample.texts(), split) == getattr(read.texts(), split)
    assert sample.documents() == read.documents()  # halves of train too: passages keep their groups
    with pytest.raises(ManticoreError, match="exists"):
        write_task(TaskOptions("text"), tmp_path)


class LossyTokenizer(NamedTuple):
    """A tokenizer that loses parts of a text, a text, and the bytes that it keeps."""

    normalizer: Normalizer | None
    pre_tokenizer: PreTokenizer
    text: str
    bytes: int


@pytest.mark.parametrize(
    "case",
    [
        LossyTokenizer(None, WhitespaceSplit(), "one  two\n\n one", 9),
        LossyTokenizer(None, Split(Regex(r"\s+"), "removed"), "one two ", 6),
        LossyTokenizer(Replace("t", ""), Split(" ", "isolated"), "one two", 6),
        LossyTokenizer(None, Split(Regex(r"\s"), "isolated"), "one  two\n\n one", 14),
        LossyTokenizer(NFC(), Split(" ", "isolated"), "cafe\u0301 \u1112\u1161\u11ab \u1ec7", 20),
        LossyTokenizer(NFC(), Split(" ", "isolated"), "e\u0323\u0302 one", 9),
    ],
)
def test_characters_that_a_tokenizer_loses_count_no_bytes(case: LossyTokenizer) -> None:
    """Blanks between tokenizer count if the tokenizer distinguishes one, two and a line end."""
    known = ["<eos>", "<unk>", "one", "two", "wo", " ", "\n", "caf\u00e9", "\ud55c", "\u1ec7"]
    core = Tokenizer(WordLevel({word: index for index, word in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = case.pre_tokenizer
    if case.normalizer is not None:
        core.normalizer = case.normalizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")
    sizes = chunk([case.text], tokenizer, 3).num_bytes
    assert sizes is not None
    assert sizes.sum() == case.bytes


def test_invalid_options_and_files_raise(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo", encoding="utf-8")
    for options, message in (
        (TaskOptions("text", data_dir=str(tmp_path)), "too few for four splits"),
        (TaskOptions("text", data_dir="nowhere.txt"), "no such file or folder of text: nowhere.txt"),
        (TaskOptions("text", test=10**6), "test examples are requested"),
    ):
        task = load_task(options)
        assert isinstance(task, LanguageTask)
        with pytest.raises(ManticoreError, match=message):
            task.texts()
    with pytest.raises(ManticoreError, match="unknown setting of text 'lenght'"):
        load_task(TaskOptions("text@lenght=3"))
    (tmp_path / "b.txt").write_bytes(b"\0")
    with pytest.raises(BadFile, match="zero byte"):
        load_task(TaskOptions("text", data_dir=str(tmp_path))).texts()  # type: ignore[attr-defined]


def test_info_needs_no_text() -> None:
    info = task_info(TaskOptions("text", preset="cpu"))
    assert (info.kind, info.metric, info.max_length) == ("lm", "bits_per_byte", 256)
