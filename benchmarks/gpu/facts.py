"""Part `facts`: versions, the device, its copy rate and the time of an empty launch, and which backend serves what."""

from __future__ import annotations

from typing import Any

import torch
from timing import times_in_turns

from manticore.experiment.environment import environment_info
from manticore.kernels import serving_backends


def run(recorder: Any) -> None:
    """Write the facts."""
    name = "dry run" if recorder.dry else torch.cuda.get_device_name()
    recorder.row(device=name, environment=environment_info(), backends=serving_backends(recorder.device))
    source = torch.zeros(2**10 if recorder.dry else 2**29, device=recorder.device)
    target, small = torch.empty_like(source), source[:1]
    seconds = times_in_turns({"copy": lambda: target.copy_(source), "launch": lambda: small.add_(0)}, 10)
    rate = 2 * source.numel() * source.element_size() / seconds["copy"]
    recorder.row(copy_bytes_per_second=rate, launch_seconds=seconds["launch"])
