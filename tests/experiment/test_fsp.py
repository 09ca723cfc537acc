"""FSP matrices of stages, and their distances between two hybrids."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from manticore.experiment.fsp import fsp_distances, fsp_matrices, stage_streams
from manticore.tasks.dataset import Batch
from tests.helpers.text_hybrids import pico_hybrid

CPU = torch.device("cpu")


def batch() -> Batch:
    torch.manual_seed(1)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    return {"input_ids": torch.randint(1, 300, (2, 6)), "attention_mask": mask}


def test_a_matrix_by_hand() -> None:
    inputs = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    outputs = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    # (1, 2)^T (1, 0) and (3, 4)^T (0, 1), halved; the third token is padding
    torch.testing.assert_close(fsp_matrices(inputs, outputs, mask), torch.tensor([[[0.5, 1.5], [1.0, 2.0]]]))


def test_streams_are_those_before_and_after_every_stage() -> None:
    model: Any = pico_hybrid()
    streams = stage_streams(model, batch())
    known = model(**batch(), output_hidden_states=True).hidden_states
    assert len(streams) == 3
    for stream, state in zip(streams, known[:-1], strict=False):
        torch.testing.assert_close(stream, state)


def test_distances_are_relative_and_begin_at_the_stage_that_differs() -> None:
    model: Any = pico_hybrid()
    other: Any = deepcopy(model)
    with torch.no_grad():  # GPT-2's last projection, so that the second stage writes another update
        other.model.stages[1].segment.backbone.h[-1].mlp.c_proj.weight.mul_(3.0)
    assert fsp_distances(model, model, [batch()], CPU) == [0.0, 0.0]
    first, second = fsp_distances(model, other, [batch(), batch()], CPU)
    assert first == 0.0
    streams, known = stage_streams(model, batch()), stage_streams(other, batch())
    difference = norm = 0.0
    for row, length in enumerate((6, 4)):
        x, y, y_known = (part[row, :length] for part in (streams[1], streams[2], known[2]))
        G, G_known = x.T @ y / length, x.T @ y_known / length
        difference += float((G - G_known).square().sum())
        norm += float(G_known.square().sum())
    assert second == pytest.approx((difference / norm) ** 0.5, rel=1e-5)
