"""Generation from a long prompt: no tensor of the runtime grows with the square of its length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from manticore import kernels
from manticore.components import Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import ATTENTION, RECURRENT, VOCAB

LENGTH = 2048


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operation returns, and the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.operation = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_flatten(out)[0]:
            storage = value.untyped_storage().nbytes() // value.element_size() if isinstance(value, torch.Tensor) else 0
            if storage > self.elements:  # of views such as an expanded mask the memory behind them
                self.elements, self.operation = storage, str(func)
        return out


@pytest.mark.parametrize("family", ["llama", "gpt_neo", "gpt2"])
def test_nothing_is_quadratic_in_the_length_of_the_prompt(family: str) -> None:
    scratch = Scratch(ATTENTION, RECURRENT, VOCAB, LENGTH + 2)
    parts = [load(ComponentSpec(name, name, init="scratch"), scratch) for name in (family, "mamba")]
    net = Supernet(parts, SearchSpace([family, "mamba"], stages=2), family, HeadSpec()).eval()
    model: Any = discretize(net, [family, "mamba"])
    ids_1L = torch.randint(3, VOCAB, (1, LENGTH))
    with torch.no_grad(), kernels.installed(), LargestTensor() as prompt:
        cache = model(ids_1L, use_cache=True, logits_to_keep=1).past_key_values
    # The largest are states of the scan: length x inner features x state size.
    assert prompt.elements < LENGTH * LENGTH / 4, prompt.operation
    with torch.no_grad(), kernels.installed(), LargestTensor() as step:
        model(ids_1L[:, -1:], past_key_values=cache, use_cache=True)
    assert step.elements <= 2 * (LENGTH + 1) * ATTENTION.width, step.operation
