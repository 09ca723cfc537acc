"""FSP matrices of the stages of hybrids, and their distances.

The matrix of the flow of solution procedure (Yim et al., CVPR 2017) relates the features that enter a block to those
that leave it. RobNets (arXiv 1911.10695) compares the blocks of networks by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from manticore.tasks.dataset import Batch
from manticore.training.batching import batch_to
from manticore.utils.module_state import eval_mode


def fsp_matrices(inputs_BLD: Tensor, outputs_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """`G[i, j] = mean over tokens of x[i] y[j]`, (B, D, D), of the inputs x and outputs y of a stage at each token.

    Padding, where the mask is 0, does not count.
    """
    mask_BL1 = mask_BL[..., None].to(inputs_BLD.dtype)
    products_BDD = (inputs_BLD * mask_BL1).transpose(1, 2) @ outputs_BLD
    return products_BDD / mask_BL1.sum(1, keepdim=True)


@torch.no_grad()
def stage_streams(model: PreTrainedModel, batch: Batch) -> list[Tensor]:
    """The stream before and after every stage, S + 1 tensors (B, L, D)."""
    streams: list[Tensor] = []

    def read_input(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        streams.append(args[0].float())

    def read_output(module: torch.nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        streams.append(output.float())

    stages: Any = model.get_submodule("model.stages")
    handles = [stages[0].register_forward_pre_hook(read_input)]
    handles += [stage.register_forward_hook(read_output) for stage in stages]
    try:
        with eval_mode(model):
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return streams


@torch.no_grad()
def fsp_distances(
    model: PreTrainedModel, reference: PreTrainedModel, batches: Iterable[Batch], device: torch.device
) -> list[float]:
    """For each stage the relative distance of the FSP matrices G of a model from G' of a reference model.

        sqrt(sum over sequences ||G - G'||_F^2 / sum over sequences ||G'||_F^2)

    RobNets has the mean squared distance; the relative one is comparable between stages. Both models have the same
    stages and width of the stream. They are left on the device.
    """
    count = len(model.config.path)
    differences, norms = torch.zeros(count), torch.zeros(count)
    model.to(device)
    reference.to(device)
    for batch in batches:
        moved = batch_to(batch, device)
        streams, known = stage_streams(model, moved), stage_streams(reference, moved)
        for stage in range(count):
            G, G_known = (
                fsp_matrices(each[stage], each[stage + 1], moved["attention_mask"]) for each in (streams, known)
            )
            differences[stage] += (G - G_known).square().sum().cpu()
            norms[stage] += G_known.square().sum().cpu()
    return (differences / norms).sqrt().tolist()
