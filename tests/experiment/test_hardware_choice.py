"""Device, precision and preset of a run follow the GPU that is asked for; no GPU is needed to see it."""

from __future__ import annotations

import os
from contextlib import nullcontext

import pytest
import torch

from manticore.config.loading import load_recipe
from manticore.config.sections import RunOptions
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.tasks.options import choose_preset


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_is_asked_for_bfloat16(has_bf16: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or has_bf16
    )
    matmul = torch.get_float32_matmul_precision()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    try:
        options = RunOptions(device="cuda:1", eval_precision="training", deterministic=True)
        hardware = setup_hardware(options)
        assert torch.get_float32_matmul_precision() == "high"
        setup_hardware(RunOptions(matmul="highest"))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(matmul)
    assert hardware.precision == hardware.eval_precision == precision
    assert (hardware.device, hardware.deterministic) == (torch.device("cuda", 1), True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert asked == [False, False]


def test_results_name_the_gpu_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert environment_info()["gpu"] is None
    assert environment_info(torch.device("cpu"))["gpu"] is None
    assert environment_info(torch.device("cuda", 1))["gpu"] == "GPU cuda:1"


def test_the_preset_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    assert choose_preset("auto")[0] == choose_preset("auto", "cuda:1")[0] == "paper"
    assert choose_preset("auto", "cpu") == ("cpu", "the device is the CPU")
    for flags, preset in (({"run": {"device": "cpu"}}, "cpu"), ({}, "paper")):
        assert load_recipe(None, {"task": {"name": "lra-listops"}, **flags}).recipe.task.preset == preset
