"""The data module of a task: streams for each module, order by seed, tokenizers, and evaluation without randomness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

import manticore as mc
from manticore.errors import ManticoreError
from manticore.tasks.dataset import Splits
from manticore.tasks.task import HeadSpec
from manticore.training.data import EvaluationLoader
from tests.helpers.mixed_model import classifier
from tests.helpers.pico import supernet
from tests.helpers.random_task import random_task
from tests.helpers.search_module import batch, net

TASK = random_task()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and loggers


class Seen(lightning.Callback):
    """Records the rows of ids of each stream."""

    def __init__(self) -> None:
        self.rows: dict[str, list[list[int]]] = {}

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        for name, part in batch.items():
            for ids, mask in zip(part["input_ids"], part["attention_mask"], strict=True):
                self.rows.setdefault(name, []).append(ids[mask.bool()].tolist())


def fit(module: Any, data: mc.SearchData, folder: Path, *callbacks: lightning.Callback, **flags: Any) -> Seen:
    seen = Seen()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, default_root_dir=folder, callbacks=[seen, *callbacks], **quiet, **flags
    )
    trainer.fit(module, data)
    return seen


def inputs(splits: Splits, *names: str) -> list[list[int]]:
    return [ids.tolist() for name in names for ids, _ in getattr(splits, name)]


def test_a_bilevel_search_reads_disjoint_splits(tmp_path: Path) -> None:
    module = mc.SearchModule(classifier(), "darts", steps=20, batch_size=4)
    seen = fit(module, mc.SearchData(TASK), tmp_path)
    splits = TASK.splits()
    assert len(seen.rows["weights"]) == len(seen.rows["alphas"]) == 80
    assert all(row in inputs(splits, "train") for row in seen.rows["weights"])
    assert all(row in inputs(splits, "train_arch") for row in seen.rows["alphas"])


@pytest.mark.parametrize("kind", ["single level", "fine-tune"])
def test_other_modules_read_both_training_splits(kind: str, tmp_path: Path) -> None:
    if kind == "fine-tune":
        module: Any = mc.FinetuneModule(classifier(), steps=20)
    else:
        module = mc.SearchModule(classifier(), "simultaneous", steps=20)
    seen = fit(module, mc.SearchData(TASK, batch_size=4), tmp_path)
    assert sorted(seen.rows["weights"]) == sorted(inputs(TASK.splits(), "train", "train_arch"))


def test_the_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    def rows(seed: int, torch_seed: int) -> list[list[int]]:
        torch.manual_seed(torch_seed)
        return fit(mc.FinetuneModule(classifier(), steps=4), mc.SearchData(TASK, 4, seed=seed), tmp_path).rows[
            "weights"
        ]

    assert rows(1, 0) == rows(1, 5) != rows(2, 0)


def test_validation_does_not_change_the_training(tmp_path: Path) -> None:
    def trained(**flags: Any) -> Any:
        module = mc.SearchModule(classifier(dropout=0.2), "darts", steps=6)
        torch.manual_seed(4)
        fit(module, mc.SearchData(TASK, 4), tmp_path, **flags)
        return module.state_dict()

    often, never = trained(val_check_interval=2), trained(limit_val_batches=0)
    assert all(torch.equal(value, never[name]) for name, value in often.items())


def test_val_loss_is_the_mean_over_the_split(tmp_path: Path) -> None:
    module, data = mc.FinetuneModule(net()), mc.SearchData(TASK, eval_batch_size=7)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    (validated,), (tested,) = trainer.validate(module, data, verbose=False), trainer.test(module, data, verbose=False)
    module.eval()
    for split, name, logged in (("val", "val_loss", validated), ("test", "test_loss", tested)):
        examples = list(getattr(TASK.splits(), split))
        with torch.no_grad():
            losses = [float(module.loss(TASK.collate([example]))) for example in examples]
        assert logged[name] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_every_example_is_evaluated_once() -> None:
    loader = EvaluationLoader(TASK.splits().val, 8, TASK.collate)
    assert len(loader) == 3
    assert [len(part["labels"]) for part in loader] == [8, 8, 4]


def test_a_task_is_a_name_or_a_mapping() -> None:
    data = mc.SearchData({"name": "lra-listops", "preset": "cpu", "train": 40, "val": 8, "test": 8})
    assert data.task.name == "lra-listops@short"
    with pytest.raises(ManticoreError, match="Did you mean 'train'"):
        mc.SearchData({"name": "lra-listops", "trian": 40})
    with pytest.raises(ManticoreError, match="Did you mean 'lra-listops'"):
        mc.SearchData("lra-listop")
    with pytest.raises(ManticoreError, match="SearchData needs a task: a name, a mapping of options, or data"):
        mc.SearchData(None)


def test_a_task_is_data_in_memory(tmp_path: Path) -> None:
    pairs = [(batch(seed, 1)["input_ids"][0].tolist(), seed % 2) for seed in range(60)]
    data = mc.SearchData(mc.task(pairs, labels=["even", "odd"]), 4)
    seen = fit(mc.SearchModule(classifier(), "darts", steps=3), data, tmp_path)
    ids = [ids for ids, _ in pairs]
    assert all(row in ids for row in [*seen.rows["weights"], *seen.rows["alphas"]])
    texts = [f"{number} is a number, and {number + 1} is the next one." for number in range(40)]
    language = mc.SearchData(texts, 4)
    supernet = mc.supernet(mc.SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=1))
    fit(mc.FinetuneModule(supernet, steps=1), language, tmp_path)
    assert language.tokenizer is supernet.components["gpt-neo-nano"].tokenizer


def test_a_language_task_needs_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"needs the model's tokenizer: tokenizer="):
        fit(mc.FinetuneModule(classifier(), steps=1), mc.SearchData("text"), tmp_path)


def test_the_number_of_steps_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"how many steps\? Pass steps="):
        fit(mc.FinetuneModule(classifier()), mc.SearchData(TASK), tmp_path)


def test_another_module_is_referred_to_the_task(tmp_path: Path) -> None:
    class Other(lightning.LightningModule):
        def training_step(self, part: Any, index: int) -> Any:
            return self.net(part["weights"]["input_ids"]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters())

    module = Other()
    module.net = classifier()
    assert module.net(batch()["input_ids"]).shape[0] == 6
    with pytest.raises(ManticoreError, match=r"for mc\.SearchModule and mc\.FinetuneModule"):
        fit(module, mc.SearchData(TASK), tmp_path, max_steps=1)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"eval_batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ManticoreError, match=f"{next(iter(options))} must be a whole number of at least"):
        mc.SearchData(TASK, **options)


def test_data_is_written_in_one_line_with_and_without_a_trainer() -> None:
    data = mc.SearchData(TASK, batch_size=4)
    assert repr(data) == str(data) == "SearchData(random, batch_size=4, seed=0)"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HeadSpec(), "the model is a language model; random needs one that reads 29 token ids and predicts 5 labels"),
        (HeadSpec("tokens", 61, 5), "with the head 'tokens'; random needs one .* with the head 'classification'"),
        (HeadSpec("classification", 61, 3), "the model reads 61 token ids and predicts 3 labels"),
        (HeadSpec("classification", 9, 5), "the model reads 9 token ids and predicts 5 labels"),
    ],
)
def test_a_task_that_is_not_the_models_is_refused(head: HeadSpec, message: str, tmp_path: Path) -> None:
    searched = supernet("gpt_neo", "mamba", head)
    hybrid = mc.discretize(searched, ["base"] * 3)
    for module in (mc.SearchModule(searched, "darts", steps=2), mc.FinetuneModule(hybrid, steps=2)):
        with pytest.raises(ManticoreError, match=message):
            fit(module, mc.SearchData(TASK), tmp_path)
