"""The Text task from the original archive's folders: splits, lengths, units, invalid options. No hub is used."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.classification.char_tokenizer import BYTES, CharTokenizer
from manticore.tasks.hub import load_hub_dataset
from manticore.utils.hub import HUB_TIMEOUT_SECONDS, hub_answers


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """aclImdb with 60 training and 20 test reviews."""
    folder = tmp_path_factory.mktemp("imdb")
    for split, count in (("train", 30), ("test", 10)):
        for label, word in (("neg", "dull"), ("pos", "grand")):
            (folder / "aclImdb" / split / label).mkdir(parents=True)
            for index in range(count):
                text = f"<br />A {word} film, {split} № {index} " * (1 + index % 5)
                path = folder / "aclImdb" / split / label / f"{index}_{9 if label == 'pos' else 2}.txt"
                path.write_text(text, encoding="utf-8")
    return folder


def text(archive: Path, name: str = "lra-text", **more: object) -> Task:
    return load_task(TaskOptions(**{"name": name, "preset": "paper", "data_dir": str(archive), **more}))  # type: ignore[arg-type]


def sizes(task: Task) -> list[int]:
    return [len(getattr(task.splits(), split)) for split in ("train", "train_arch", "val", "test")]


def test_splits_are_those_of_the_benchmark_with_a_tenth_of_train_as_val(archive: Path) -> None:
    task = text(archive)
    assert sizes(task) == [27, 27, 6, 20]
    assert (task.name, task.max_length, task.num_labels) == ("lra-text", 4096, 2)
    assert task.label_names == ("neg", "pos")
    assert sizes(text(archive, train=10, val=4, test=8)) == [5, 5, 4, 8]
    assert sizes(text(archive / "aclImdb", seed=3)) == sizes(task)
    assert set(task.heuristic_baselines()) == {"majority class", "length"}
    assert "cut to 4096 bytes" in task.describe()


def test_a_token_is_a_byte(archive: Path) -> None:
    task = text(archive)
    assert task.vocabulary.size == 259
    for ids, label in task.splits().test:
        decoded = bytes((ids[:-1] - 3).tolist()).decode()
        assert decoded.startswith("<br />A dull film" if label == 0 else "<br />A grand film")
        assert ids[-1] == task.vocabulary.eos
    batch = task.collate([task.splits().test[0], task.splits().test[1]])
    assert batch["input_ids"][batch["attention_mask"] == 0].eq(task.vocabulary.pad).all()


def test_a_token_is_a_character(archive: Path) -> None:
    task = text(archive, "lra-text@unit=characters,length=60")
    assert task.name == "lra-text@unit=characters,length=60"
    assert "№" in task.vocabulary.tokens
    assert " " in task.vocabulary.tokens
    assert "q" not in task.vocabulary.tokens
    assert all(2 <= length <= 60 for length in task.splits().test.lengths)
    first = "".join(task.vocabulary.decode(task.splits().test[0][0].tolist()[:8]))
    assert first == "<br />A "


def test_the_length_is_in_the_name(archive: Path) -> None:
    assert text(archive, preset="cpu").name == "lra-text@length=512"
    task = text(archive, "lra-text@length=50")
    assert (task.name, task.max_length, task.splits().test.lengths.max()) == ("lra-text@length=50", 50, 50)
    assert text(archive, "lra-text@length=4096").name == "lra-text"


def test_the_seed_determines_val_but_not_test(archive: Path) -> None:
    first, again, other_seed = (text(archive, seed=seed).splits() for seed in (0, 0, 1))
    assert np.array_equal(first.val.flat, again.val.flat)
    assert not np.array_equal(first.val.flat, other_seed.val.flat)
    assert np.array_equal(first.test.flat, other_seed.test.flat)


def test_duplicates_after_cutting_are_dropped_from_train(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ManticoreError, match="also occur in the splits"):
        text(archive, "lra-text@length=10")


def test_without_a_hub_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("manticore.tasks.hub.hub_answers", lambda *_: False)
    monkeypatch.setattr("manticore.tasks.hub._cached", lambda source: tmp_path / "none")
    for name, source in (("lra-text", "stanfordnlp/imdb"), ("lra-image", "uoft-cs/cifar10")):
        with pytest.raises(ManticoreError, match=f"cannot get '{source}' from the hub or its cache; unpack") as failure:
            load_task(TaskOptions(name, preset="paper"))
        assert "--data-dir" in str(failure.value)
        assert "\n" not in str(failure.value)


def test_an_error_of_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("gone away\nTraceback: ...")

    monkeypatch.setattr("manticore.tasks.hub.hub_answers", lambda *_: True)
    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(ManticoreError, match=r"cannot get 'a/b' from the hub or its cache \(gone away\); do that$"):
        load_hub_dataset("a/b", ("train",), "do that")


def test_a_hub_that_cannot_be_reached_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, timeout: float) -> None:
        assert "datasets/a/b" in url
        assert timeout == HUB_TIMEOUT_SECONDS
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    assert not hub_answers("a/b", "README.md", "dataset")


def test_from_the_hub_the_task_is_the_same(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def hub(source: str, splits: tuple[str, ...], hint: str) -> list[datasets.Dataset]:
        assert source == "stanfordnlp/imdb"
        out = []
        for split in splits:
            files = sorted((archive / "aclImdb" / split).glob("*/*.txt"), key=lambda path: path.name)
            rows = [
                {"text": path.read_text(encoding="utf-8"), "label": int(path.parent.name == "pos")} for path in files
            ]
            out.append(datasets.Dataset.from_list(rows))
        return out

    monkeypatch.setattr("manticore.tasks.lra.text.load_hub_dataset", hub)
    there, here = load_task(TaskOptions("lra-text", preset="paper")).splits(), text(archive).splits()
    for split in ("train", "train_arch", "val", "test"):
        assert np.array_equal(getattr(there, split).flat, getattr(here, split).flat)
        assert np.array_equal(getattr(there, split).labels, getattr(here, split).labels)


def test_invalid_options_and_files_raise_one_line(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"train/neg: no reviews; expected a folder aclImdb"):
        text(tmp_path)
    with pytest.raises(UnknownName, match="Did you mean 'characters'"):
        text(archive, "lra-text@unit=character")
    with pytest.raises(ManticoreError, match="'length' of lra-text must be 2 to 1048576, got many"):
        text(archive, "lra-text@length=many")
    with pytest.raises(ManticoreError, match="100 val examples are requested, found 60"):
        text(archive, val=100)
    with pytest.raises(UnknownName, match="setting of lra-text"):
        text(archive, "lra-text@size=3")
    for label in ("neg", "pos"):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "0_1.txt").write_text("")
    with pytest.raises(BadFile, match=r"0_1.txt: expected a review, found an empty file"):
        text(tmp_path)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.integers(2, 40))
def test_bytes_are_encoded_and_decoded(texts: list[str], length: int) -> None:
    tokenizer = CharTokenizer("bytes", length, [])
    assert tokenizer.vocabulary is BYTES
    examples = tokenizer.encode_all([((text.encode(),), 0) for text in texts])
    for (ids, _), text in zip(examples, texts, strict=True):
        assert bytes((ids[:-1] - 3).tolist()) == text.encode()[: length - 1]
        assert ids[-1] == tokenizer.vocabulary.eos
        assert len(ids) <= length


@given(st.text(alphabet="abc№é", min_size=15, max_size=60), st.integers(2, 40))
def test_frequent_characters_have_tokens_and_others_are_unknown(text: str, length: int) -> None:
    tokenizer = CharTokenizer("characters", 100, [text.encode(), b"z" * 15])
    tokens = tokenizer.vocabulary.decode(tokenizer.encode((text + "?").encode())[:-1])
    assert tokens == [character if text.count(character) >= 15 else "<unk>" for character in text + "?"]


def test_byte_names_are_those_of_byte_level_tokenizers() -> None:
    from tokenizers import pre_tokenizers

    assert {*BYTES.tokens[3:]} == {*pre_tokenizers.ByteLevel.alphabet()}
    names = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("né\n ")[0][0]
    assert [*names] == [BYTES.tokens[3 + byte] for byte in "né\n ".encode()]
