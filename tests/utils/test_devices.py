"""Devices by name, and one GPU for each worker."""

from __future__ import annotations

import pytest
import torch

from manticore.errors import ManticoreError, UnknownName
from manticore.utils.devices import check_device, choose_device, gpu_of_worker


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3"])
def test_names_of_devices(name: str) -> None:
    check_device(name)


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="auto, cpu, cuda"):
        check_device(name)


def test_a_device_is_one_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device() == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ManticoreError, match="torch sees 2 GPUs"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(ManticoreError, match=r"run\.device is cuda:1, but torch sees no CUDA device"):
        choose_device("cuda:1")


def test_workers_share_out_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert gpu_of_worker(0) == {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [gpu_of_worker(number)["CUDA_VISIBLE_DEVICES"] for number in range(5)] == ["0", "1", "2", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert [gpu_of_worker(number)["CUDA_VISIBLE_DEVICES"] for number in (0, 2, 4)] == ["4", "7", "6"]
