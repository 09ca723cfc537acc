"""Tasks from data in memory: lists, datasets of Hugging Face and torch, given or derived splits, files beside a run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from pandas import DataFrame
from rich.console import Console
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

import manticore as mc
from manticore.errors import BadFile, ManticoreError
from manticore.tasks import TaskOptions, load_task
from manticore.tasks.data import TaskSource
from manticore.tasks.task import Task
from tests.helpers.cli import call, refusal
from tests.helpers.model_folders import model_folder, read_folder
from tests.helpers.trained_tokenizers import small_tokenizer

RNG = random.Random(0)
WORDS = ["the", "old", "man", "sea", "fish", "sails", "moon", "star", "night", "day", "run", "walks", "talk", "sleep"]
TEXTS = [" ".join(RNG.choices(WORDS, k=20)) for _ in range(40)]
LABELLED = [(text, "sea" if "sea" in text else "land") for text in TEXTS]
QUIET = Console(file=StringIO())

SIZES = {
    "scratch": {"attention": {"width": 16, "layers": 2, "heads": 2}, "recurrent": {"width": 16, "layers": 2}},
    "search": {"strategy": "darts", "steps": 4, "warmup_steps": 2, "batch_size": 4},
    "finetune": {"steps": 2, "batch_size": 4},
    "baselines": {"components": False, "uniform": False, "random": False},
}
"""Sections of a recipe for a search of a second."""


def read(data: Any, folder: Path) -> Task:
    """The task as a run reads it, after its data was written beside the folder of the run."""
    with TaskSource.of(data).saved(folder, QUIET) as keys:
        return load_task(TaskOptions(**{**keys, "preset": "cpu"}))


def inputs(task: Task) -> dict[str, list[bytes]]:
    """The inputs of the four splits."""
    return {split: examples.fingerprints() for split, examples in vars(task.splits()).items()}


def test_texts_are_language_modelling(tmp_path: Path) -> None:
    task = read(mc.task(TEXTS, length=16), tmp_path / "run").with_tokenizer(small_tokenizer())
    assert (task.name, task.kind, task.max_length) == ("text:own@length=16", "lm", 16)
    documents = task.documents()
    assert sorted(text for texts in documents.values() for text in texts) == sorted(TEXTS)
    assert all(documents.values())
    assert sorted(file.name for file in (tmp_path / "run.data" / "own").iterdir()) == [
        "task.json",
        "test.jsonl",
        "train.jsonl",
        "val.jsonl",
    ]


def test_four_splits_of_text_stay_as_they_are(tmp_path: Path) -> None:
    parts = {"train": TEXTS[:10], "train_arch": TEXTS[10:20], "val": TEXTS[20:30], "test": TEXTS[30:]}
    task = read(mc.task(**parts, name="poems"), tmp_path / "run")
    assert task.name == "text:poems"
    assert {split: sorted(texts) for split, texts in task.documents().items()} == {
        split: sorted(texts) for split, texts in parts.items()
    }


@pytest.mark.parametrize(("missing", "present"), [("val", "test"), ("test", "val")])
def test_a_missing_split_of_text_is_taken_from_train(tmp_path: Path, missing: str, present: str) -> None:
    task = read(mc.task(TEXTS[:30], **{present: TEXTS[30:]}), tmp_path / "run")
    documents = task.documents()
    assert sorted(documents[present]) == sorted(TEXTS[30:])
    assert 2 <= len(documents[missing]) <= 4
    assert set(documents[missing]) <= set(TEXTS[:30])
    assert sorted(text for texts in documents.values() for text in texts) == sorted(TEXTS)


def test_a_long_text_is_cut_into_passages(tmp_path: Path) -> None:
    task = read(mc.task(["\n\n".join(TEXTS)], passage=200), tmp_path / "run")
    assert all(task.documents().values())


def test_splits_depend_on_the_seed_and_have_no_duplicates(tmp_path: Path) -> None:
    twice = TEXTS + TEXTS[:10]
    first, again, other = (
        read(mc.task(twice, seed=seed), tmp_path / name).documents() for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other
    assert sum(map(len, first.values())) == len(TEXTS)


def test_pairs_of_text_and_label_are_classified(tmp_path: Path) -> None:
    task = read(mc.task(LABELLED), tmp_path / "run")
    assert (task.kind, task.label_names, task.text_unit) == ("classification", ("land", "sea"), "bytes")
    splits = inputs(task)
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 16,
        "train_arch": 16,
        "val": 4,
        "test": 4,
    }
    assert len(set().union(*splits.values())) == len(TEXTS)
    ids, label = task.splits().test[0]
    names = dict(LABELLED)
    text = bytes(int(token) - 3 for token in ids[:-1]).decode()
    assert names[text] == task.label_names[int(label)]


def test_labels_by_number_have_names(tmp_path: Path) -> None:
    pairs = [(text, int(label == "sea")) for text, label in LABELLED]
    assert read(mc.task(pairs, labels=["dry", "wet"]), tmp_path / "a").label_names == ("dry", "wet")
    assert read(mc.task(pairs), tmp_path / "b").label_names == ("0", "1")


@pytest.mark.parametrize("as_array", [list, np.array, torch.tensor])
def test_token_ids_are_read_as_they_are(tmp_path: Path, as_array: Any) -> None:
    pairs = [(as_array([index, index + 1, 7]), index % 2) for index in range(20)]
    task = read(mc.task(pairs), tmp_path / "run")
    assert (task.vocabulary.size, task.num_labels, task.max_length) == (21, 2, 3)
    assert sorted(len(examples) for examples in vars(task.splits()).values()) == [2, 2, 8, 8]
    for examples in vars(task.splits()).values():
        assert all(ids[1] == ids[0] + 1 and ids[0] % 2 == label for ids, label in examples)


def test_each_token_may_have_a_label(tmp_path: Path) -> None:
    names = {"sea": "S", "old": "other"}
    pairs = [(text.split(), [names.get(word) for word in text.split()]) for text in TEXTS]
    task = read(mc.task(pairs, labels=["S", "other"]), tmp_path / "run")
    assert (task.kind, task.per_token, task.label_names) == ("tokens", True, ("S", "other"))
    ids, labels = task.splits().train[0]
    assert [task.vocabulary.decode([token]) == ["sea"] for token in ids] == [label == 0 for label in np.array(labels)]


def test_a_dataset_knows_its_columns_and_its_labels(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["land", "sea"]), "id": Value("int64")})
    rows = [{"text": text, "label": label, "id": index} for index, (text, label) in enumerate(LABELLED)]
    parts = DatasetDict(
        train=Dataset.from_list(rows[:20], features=features),
        validation=Dataset.from_list(rows[20:30], features=features),
        test=Dataset.from_list(rows[30:], features=features),
    )
    task = read(parts, tmp_path / "run")
    assert task.label_names == ("land", "sea")
    assert len(task.splits().val) == len(task.splits().test) == 10
    texts = Dataset.from_dict({"story": TEXTS})
    assert read(mc.task(texts, text="story"), tmp_path / "lm").is_language_modeling


def test_a_table_is_read_by_its_rows(tmp_path: Path) -> None:
    frame = DataFrame(LABELLED, columns=["text", "label"])
    expected = read(LABELLED, tmp_path / "list").fingerprint()
    assert read(frame, tmp_path / "frame").fingerprint() == expected
    assert read(Dataset.from_pandas(frame), tmp_path / "dataset").fingerprint() == expected
    assert read(Dataset.from_pandas(frame).data.table, tmp_path / "arrow").fingerprint() == expected
    ids = DataFrame({"tokens": [[index, 7] for index in range(20)], "label": [index % 2 for index in range(20)]})
    assert (task := read(ids, tmp_path / "ids")).num_labels == 2
    assert task.vocabulary.size == 20
    assert read(mc.task(DataFrame({"story": TEXTS}), text="story"), tmp_path / "lm").is_language_modeling


class Table:
    """A table of another library, which iterates over the names of its columns."""

    def __init__(self, frame: DataFrame) -> None:
        self.frame, self.columns = frame, list(frame.columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class RowTable(Table):
    """Has the method for rows of polars."""

    def iter_rows(self, *, named: bool = False) -> Iterator[Any]:
        return iter(self.frame.to_dict("records") if named else self.frame.to_numpy().tolist())


class ArrowTable(Table):
    """Can be read as Arrow, as polars and duckdb can."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return Dataset.from_pandas(self.frame).data.table.__arrow_c_stream__(requested_schema)


def test_tables_of_other_libraries_are_read_by_their_rows_or_refused(tmp_path: Path) -> None:
    frame = DataFrame(LABELLED, columns=["text", "label"])
    expected = read(LABELLED, tmp_path / "list").fingerprint()
    for kind in (RowTable, ArrowTable):
        assert read(kind(frame), tmp_path / kind.__name__).fingerprint() == expected
    with pytest.raises(ManticoreError, match="a Table is a table that gives no rows; pass a list of them, as records"):
        mc.task(Table(frame))


def test_a_polars_table_is_read_by_its_rows(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": [text for text, _ in LABELLED], "label": [label for _, label in LABELLED]})
    assert read(frame, tmp_path / "polars").fingerprint() == read(LABELLED, tmp_path / "list").fingerprint()


def test_columns_are_no_splits() -> None:
    columns = {"text": TEXTS, "label": [0, 1] * 20}
    for make in (mc.task, TaskSource.of):
        with pytest.raises(ManticoreError, match="a mapping with 'text' is a table of columns; pass its rows, such as"):
            make(columns)


class Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A map-style dataset of torch."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], torch.tensor(index % 3)


def test_a_dataset_of_torch_is_read(tmp_path: Path) -> None:
    task = read(Pairs([torch.arange(index, index + 5) for index in range(30)]), tmp_path / "run")
    assert (task.num_labels, sum(map(len, vars(task.splits()).values()))) == (3, 30)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            Pairs([torch.rand(1, 4, 4)]),
            r"train\[0\] has a Tensor of shape \(1, 4, 4\) and type torch.float32",
        ),
        ([3, 4], r"train\[0\] is a int; an item is a text, \(text, label\)"),
        ([("a", "b", "c")], r"train\[0\] is a tuple of str, str, str"),
        (["a text", ("a text", "label")], "items of unlike kinds: some with text, some with text and label"),
        ([("a b", 1.5)], r"train\[0\] has a float as label"),
        ([([1, 2, 3], [0, 1])], r"train\[0\] has 3 tokens and 2 labels"),
        ([([1, -2], 0)], r"train\[0\] has tokens of another kind"),
        ([("text", [0, 1])], r"train\[0\] is a text with a list of labels"),
        (["fine", "a\0b"], r"train\[1\] contains \\u0000"),
        ([{"body": "a"}], r"train\[0\] has no field text or content .*; it has body"),
        ([], "train is empty"),
        (42, "a task is a name, a mapping of options, or data as mc.task takes it, not a int"),
        (torch.nn.Linear(2, 2), "train must be a list of texts .* not a Linear"),
        ([("one", 0), ("two", 1)], "2 examples of train are too few to take test and val"),
        (["one", "two"], "2 unrelated documents or passages are too few"),
        ([(text, "same") for text in TEXTS], "all examples have the label 'same'; classification needs at least two"),
        ([([index], [None]) for index in range(9)], "no token has a label; classification needs at least two labels"),
        (DataFrame({"story": TEXTS}), r"train\[0\] has no field text or content .*; it has story"),
    ],
)
def test_other_objects_are_refused_in_one_line(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ManticoreError, match=message) as caught:
        mc.search(mc.SearchSpace(["gpt-neo", "mamba"]), data, out=tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_arguments_are_checked() -> None:
    with pytest.raises(ManticoreError, match=r"unknown label 'fish'\. Known: land, sea"):
        mc.task([*LABELLED, ("text", "fish")], labels=["land", "sea"])
    with pytest.raises(ManticoreError, match="label 7 is none of the 2 classes"):
        mc.task([([index], 7) for index in range(9)], labels=["a", "b"])
    with pytest.raises(ManticoreError, match="labels are given, but the items are texts without a label"):
        mc.task(TEXTS, labels=["a"])
    for labels in ("ab", ["a", "a"]):
        with pytest.raises(ManticoreError, match="labels is a list of different names of classes, not"):
            mc.task(LABELLED, labels=labels)
    with pytest.raises(ManticoreError, match=r"setting of text 'lenght'\. Did you mean 'length'"):
        mc.task(TEXTS, lenght=3)
    with pytest.raises(ManticoreError, match=r"'length' of text must be 2 to \d+, got 0"):
        mc.task(TEXTS, length=0)
    with pytest.raises(ManticoreError, match="unit of text 'words'"):
        mc.task(LABELLED, unit="words")
    with pytest.raises(ManticoreError, match=r"train\[1\] has no text or tokens, but nan"):
        mc.task(DataFrame({"text": ["a", None], "label": [0, 1]}))
    with pytest.raises(ManticoreError, match="unknown split 'trian'"):
        mc.task({"trian": TEXTS})
    with pytest.raises(ManticoreError, match="no split train among none"):
        mc.task(DatasetDict())
    with pytest.raises(ManticoreError, match="val is given twice"):
        mc.task({"train": TEXTS, "dev": TEXTS}, val=TEXTS)
    with pytest.raises(ManticoreError, match="name of a task must be letters"):
        mc.task(TEXTS, name="a/b")


def test_a_search_on_pairs_is_resumed_and_evaluated_from_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, space = tmp_path / "run", mc.SearchSpace(["gpt-neo", "mamba"], stages=2)
    result = mc.search(space, mc.task(LABELLED, preset="cpu"), out=out, quiet=True, **SIZES)
    assert result.metrics.task == "labelled:own"
    data = tmp_path / "run.data" / "own"
    assert f"data_dir: {data}" in (out / "recipe.yaml").read_text()

    (out / "metrics.json").unlink()
    status, printed, error = call(capsys, "search", "--out", out, "--resume")
    assert status == 0, error
    assert "fine-tune (2 of 2): finished before" in printed
    assert mc.search(space, mc.task(LABELLED, preset="cpu"), out=out, resume=True, quiet=True, **SIZES).folder == out
    task = ("--task", "labelled", "--preset", "cpu", "--data-dir", data)
    status, printed, error = call(capsys, "evaluate", out, *task)
    assert status == 0, error
    assert "labelled:own test: accuracy" in printed

    with pytest.raises(ManticoreError, match="holds other examples than these"):
        mc.search(space, mc.task(LABELLED[1:], preset="cpu"), out=out, resume=True, quiet=True, **SIZES)
    with (data / "train.jsonl").open("a") as file:
        file.write('{"text": "more", "label": "sea"}\n')
    assert "its files are not those that were written" in refusal(capsys, "evaluate", out, *task)
    (data / "task.json").unlink()
    (out / "metrics.json").unlink()
    assert "was started with other data" in refusal(capsys, "search", "--out", out, "--resume")


def test_a_hybrid_is_evaluated_and_trained_further_on_data_in_memory(tmp_path: Path) -> None:
    data = mc.task(LABELLED, preset="cpu")
    assert data.examples is not None
    result = mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), data, out=tmp_path / "run", quiet=True, **SIZES)
    hybrid = result.metrics.hybrid.score
    assert mc.evaluate(result, data, quiet=True).accuracy == hybrid.value
    others = mc.task([(text[::-1], label) for text, label in LABELLED], preset="cpu")
    assert mc.evaluate(result, others, quiet=True).count == hybrid.count

    new = [(text.upper(), label) for text, label in LABELLED]
    more = mc.task([*LABELLED, *new], preset="cpu")
    assert more.examples is not None
    trained_on = {record["text"] for split in ("train", "val") for record in data.examples.by_name[split]}
    unseen = [record for record in more.examples.by_name["test"] if record["text"] not in trained_on]
    assert 0 < len(unseen) < len(more.examples.by_name["test"])
    assert mc.evaluate(result, more, quiet=True).count == len(unseen), "the others were trained or selected on"

    out = tmp_path / "further"
    trained = mc.finetune(result, others, out=out, steps=1, quiet=True)
    assert trained.scores.task == "labelled:own"
    assert (tmp_path / "further.data" / "own" / "train.jsonl").exists()
    assert mc.finetune(result, others, out=out, steps=1, resume=True, quiet=True).scores == trained.scores
    with pytest.raises(ManticoreError, match="is not empty"):
        mc.finetune(result, replace(data, name="taken"), out=out, steps=1, quiet=True)
    with pytest.raises(ManticoreError, match="this hybrid has the labels land, sea; labelled:own has bird, fish"):
        mc.evaluate(result, mc.task([(text, "fish" if label == "sea" else "bird") for text, label in LABELLED]))
    assert [path.name for path in (tmp_path / "further.data").iterdir()] == ["own"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> mc.Result:
    """A hybrid for `LABELLED`."""
    out, space = tmp_path_factory.mktemp("classifier") / "run", mc.SearchSpace(["gpt-neo", "mamba"], stages=2)
    return mc.search(space, mc.task(LABELLED, preset="cpu", length=64), out=out, quiet=True, **SIZES)


def test_examples_are_all_scored(classifier: mc.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = [(text.upper(), label) for text, label in LABELLED]
    splits = mc.task(train=[(text[::-1], label) for text, label in LABELLED], test=new, preset="cpu", length=64)
    expected = mc.evaluate(classifier, splits, quiet=True)
    assert expected.count == len(new)
    rows = [{"text": text, "label": ["sea", "land"].index(label)} for text, label in new]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["sea", "land"])})
    frame = DataFrame(new, columns=["text", "label"])
    for items in (new, {"test": new}, frame, Dataset.from_list(rows, features=features), iter(new)):
        assert mc.evaluate(classifier, items, quiet=True) == expected
    assert mc.evaluate(classifier, new[:1], quiet=True).count == 1
    assert mc.evaluate(classifier, new, set={"task.test": 7}, json=tmp_path / "score", quiet=True).count == 7
    copied = mc.export(classifier, out=tmp_path / "copied", quiet=True)
    assert mc.evaluate(copied, new, quiet=True) == expected
    assert mc.evaluate(classifier, LABELLED).count == len(LABELLED)
    seen = len(LABELLED) - classifier.metrics.hybrid.score.count
    assert f"{seen} of the {len(LABELLED)} examples were trained or selected on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("text", "fish")], r"unknown label 'fish'\. Known: land, sea"),
        ([("text", 2)], "label 2 is none of the 2 classes"),
        (TEXTS, r"this model predicts labels: an item is \(text, label\) or \(tokens, label\), not a text"),
        ([([1, 999], 0)], r"test\[0\] has the token 999; the model reads 259 token ids"),
        ([], "test is empty"),
    ],
)
def test_examples_that_a_model_does_not_read_are_refused(classifier: mc.Result, items: Any, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mc.evaluate(classifier, items, quiet=True)


def test_data_of_a_task_is_not_named_beside_examples(classifier: mc.Result) -> None:
    with pytest.raises(ManticoreError, match="'data_dir' selects the data of a task"):
        mc.evaluate(classifier, LABELLED, data_dir="notes", quiet=True)


def test_words_and_labels_of_tokens_are_scored_as_they_were_learned(tmp_path: Path) -> None:
    tagged = [(text.split(), [word[0] for word in text.split()]) for text in TEXTS]
    result = mc.search(
        mc.SearchSpace(["gpt-neo", "mamba"], stages=2),
        mc.task(tagged[:30], preset="cpu"),
        out=tmp_path / "run",
        quiet=True,
        **SIZES,
    )
    expected = mc.evaluate(result, mc.task(train=tagged[:30], test=tagged[30:], preset="cpu"), quiet=True)
    assert expected.count == 10
    assert mc.evaluate(result, tagged[30:], quiet=True) == expected


def test_a_model_object_is_scored_and_continues_a_text(classifier: mc.Result, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "gpt", "gpt_neo")
    model, tokenizer = read_folder(folder)
    expected = mc.evaluate(folder, TEXTS, quiet=True)
    assert expected.count == len(TEXTS)
    assert mc.evaluate(model, TEXTS, tokenizer=tokenizer, quiet=True) == expected
    assert mc.evaluate((model, tokenizer), TEXTS, quiet=True) == expected
    text = mc.generate(folder, "the old man", max_new_tokens=4)
    assert mc.generate(model, "the old man", max_new_tokens=4, tokenizer=tokenizer) == text
    hybrid, own = classifier.hybrid, AutoTokenizer.from_pretrained(classifier.checkpoint)
    assert mc.evaluate(hybrid, LABELLED, tokenizer=own, quiet=True) == mc.evaluate(classifier, LABELLED, quiet=True)
    with pytest.raises(ManticoreError, match=r"a model object reads text with its tokenizer: pass tokenizer=\.\.\."):
        mc.generate(model, "the old man")
    with pytest.raises(ManticoreError, match="tokenizer= goes with a model object"):
        mc.evaluate(folder, TEXTS, tokenizer=tokenizer)
    with pytest.raises(ManticoreError, match="GPT2ForSequenceClassification is no language model and no hybrid"):
        mc.evaluate(GPT2ForSequenceClassification(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)), TEXTS)


def test_model_objects_with_tokenizers_read_text(tmp_path: Path) -> None:
    (model, tokenizer), (other, _) = (
        read_folder(model_folder(tmp_path / family, family)) for family in ("gpt_neo", "mamba")
    )
    pairs = mc.SearchSpace([(model, tokenizer), mc.ComponentSpec(model=other, tokenizer=tokenizer)], stages=2)
    shared = mc.SearchSpace([model, other], stages=2, tokenizer=tokenizer)
    assert [spec.tokenizer for spec in pairs.components] == [spec.tokenizer for spec in shared.components]
    sizes = {**SIZES, "align": {"tokens": 200}}
    result = mc.search(shared, mc.task(TEXTS, length=16, preset="cpu"), out=tmp_path / "run", quiet=True, **sizes)
    assert result.metrics.kind == "lm"
    assert (tmp_path / "run.components" / "MambaForCausalLM" / "tokenizer.json").exists()


def test_nothing_is_left_of_a_search_that_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match="unknown argument 'serach'"):
        mc.search(mc.SearchSpace(["gpt-neo", "mamba"]), TEXTS, out=tmp_path / "run", quiet=True, serach={})
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_holds_the_data_without_a_run() -> None:
    with TaskSource.of(mc.task(LABELLED)).saved(None, QUIET) as keys:
        folder = Path(keys["data_dir"])
        assert (folder / "train.jsonl").exists()
    assert not folder.exists()


def test_a_damaged_file_of_labelled_examples_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 0}\nnot json\n')
    with pytest.raises(BadFile, match=r"train.jsonl:2: not JSON"):
        load_task(TaskOptions("labelled", data_dir=str(tmp_path)))
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ManticoreError, match="labelled examples have a text or tokens, and a label"):
        load_task(TaskOptions("labelled", data_dir=str(tmp_path)))


def test_data_dir_is_a_list_of_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, texts in (("a", TEXTS[:20]), ("b", TEXTS[20:])):
        (tmp_path / f"{name}.txt").write_text("\n<|endoftext|>\n".join(texts))
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    with TaskSource.of({"name": "text", "data_dir": paths}).saved(None, QUIET) as keys:
        task = load_task(TaskOptions(**keys))
    assert task.name == "text:a.txt+b.txt"
    assert sorted(text for texts in task.documents().values() for text in texts) == sorted(TEXTS)
    assert TaskOptions("text", data_dir=("a",)) == TaskOptions("text", data_dir="a")
    with pytest.raises(ManticoreError, match="data_dir is an empty list"):
        TaskOptions("text", data_dir=())
    two = [word for path in paths for word in ("--data-dir", path)]
    assert "reads one folder, and data_dir has 2 paths" in refusal(capsys, "search", "--task", "lra-text", *two)
    missing = refusal(capsys, "search", "--task", "text", *two, "--data-dir", tmp_path / "c.txt")
    assert "no such file or folder of text" in missing


def test_two_folders_with_splits_are_one_data_set(tmp_path: Path) -> None:
    for index, folder in enumerate(("a", "b")):
        for number, split in enumerate(("train", "train_arch", "val", "test")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{split}.txt").write_text(TEXTS[4 * index + number])
    task = load_task(TaskOptions("text", data_dir=(str(tmp_path / "a"), str(tmp_path / "b"))))
    assert task.documents() == {
        "train": [TEXTS[0], TEXTS[4]],
        "train_arch": [TEXTS[1], TEXTS[5]],
        "val": [TEXTS[2], TEXTS[6]],
        "test": [TEXTS[3], TEXTS[7]],
    }


def test_a_module_that_is_no_model_is_refused_when_the_space_is_made() -> None:
    with pytest.raises(ManticoreError, match="a component is a name, a folder or a Hugging Face model, and Linear is"):
        mc.SearchSpace(["./a", torch.nn.Linear(2, 2)])
    with pytest.raises(ManticoreError, match=r"the tokenizer of component './a' goes with model="):
        mc.ComponentSpec("./a", tokenizer=small_tokenizer())
