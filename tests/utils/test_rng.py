"""The random state of a training is that of its own device, on any machine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manticore.utils.rng import rng_state, set_rng_state


def test_a_training_on_the_cpu_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a context on a GPU")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("get_rng_state", "set_rng_state", "get_rng_state_all", "set_rng_state_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    state = rng_state(torch.device("cpu"))
    expected = torch.rand(3)
    set_rng_state({**state, "cuda": [torch.zeros(16, dtype=torch.uint8)]}, torch.device("cpu"))  # of a run on a GPU
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("saved", "expected"), [(1, 0), (4, 2), (2, 1), (0, None)])
def test_the_state_of_the_own_gpu_is_restored(
    saved: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {2: torch.full((16,), 7, dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device.index: state}))
    device = torch.device("cuda", 2)
    own = rng_state(device)
    assert [state.tolist() for state in own["cuda"]] == [[7] * 16]
    set_rng_state({**own, "cuda": [torch.full((16,), n, dtype=torch.uint8) for n in range(saved)]}, device)
    assert states[2][0] == (7 if expected is None else expected)
