"""A user's task with a user's head and metric, all three registered outside of the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

import manticore as mc
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.heads import HEADS, ClassificationHead
from manticore.results.search import SearchResult
from manticore.tasks import Examples, Task, TaskOptions, tasks
from manticore.training.metrics import Metric, metrics
from manticore.training.scoring import score
from tests.helpers.toy_task import NAME, QUICK, which_end


class MeanHead(ClassificationHead):
    """A linear map of the mean state of a sequence, (B, L, D) -> (B, labels)."""

    @staticmethod
    def select_states(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is None:
            return h_BLD.mean(1)
        mask_BL1 = attention_mask[..., None].to(h_BLD.dtype)
        return (h_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)


def macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN)."""
    classes = np.unique(np.concatenate([predictions, labels]))
    hits = np.array([((predictions == c) & (labels == c)).sum() for c in classes])
    total = np.array([(predictions == c).sum() + (labels == c).sum() for c in classes])
    return float((2 * hits / total).mean())


F1 = Metric("macro_f1", "macro F1", "points", 1.0, 0.0, 1, 100.0, " %", compute=macro_f1)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mc.register.head("mean")(MeanHead)
    mc.register.metric("macro_f1")(F1)

    @mc.register.task(NAME)
    def task(options: TaskOptions) -> Task:
        """Is the first letter the last?"""
        task = which_end(options)
        task.kind, task.metric = "mean", "macro_f1"
        return task

    yield
    HEADS.pop("mean")
    for registry, name in ((metrics, "macro_f1"), (tasks, NAME)):
        registry._items.pop(name)


@pytest.mark.e2e
def test_a_search_with_a_users_head_and_metric(tmp_path: Path) -> None:
    mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), {"name": NAME}, out=tmp_path / "run", **QUICK)
    result = SearchResult.load(tmp_path / "run")
    assert (result.kind, result.metric) == ("mean", F1)
    assert all(0 <= row.score.value <= 1 for row in result.rows)
    assert not [row for row in result.rows if row.group == "heuristic"], "heuristics have an accuracy"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "hybrid", trust_remote_code=True)
    assert model.config.head == "mean"
    evaluated = mc.evaluate(tmp_path / "run", quiet=True)
    (exported,) = [row for row in result.rows if row.name == "discretized, after fine-tuning"]
    assert evaluated.metric is F1
    assert evaluated.value == pytest.approx(exported.score.value)


def test_the_metric_is_computed_from_predictions_and_labels() -> None:
    class Constant(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return torch.tensor([0.0, 1.0]).expand(len(input_ids), 2)

    task = tasks[NAME](TaskOptions(NAME))
    examples = Examples.pack([([3, 4], 1), ([3, 4, 5], 0), ([4, 5], 1)])
    result = score(Constant(), examples, task.collate, 2, metric=F1)
    assert result.value == result.to_dict()["macro_f1"] == pytest.approx((2 * 2 / (3 + 2) + 0) / 2)
    assert (result.metric, result.margin) == (F1, None)
    assert result.format() == "macro F1 40.0 %"
    assert score(Constant(), examples, task.collate, 2).metric.name == "accuracy"


def test_the_head_determines_the_labels_of_a_task() -> None:
    task = tasks[NAME](TaskOptions(NAME))
    assert (task.per_token, task.sequences, task.heuristic_baselines()) == (False, 1, {})
    task.kind = "tokens"
    with pytest.raises(ManticoreError, match="a label for each sequence of train; the head 'tokens' predicts one for"):
        task.splits()
    task.kind = "meen"
    with pytest.raises(UnknownName, match=r"kind of task 'meen'. Did you mean 'mean'"):
        _ = task.per_token
