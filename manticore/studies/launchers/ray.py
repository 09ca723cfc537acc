"""Workers are tasks of a Ray cluster, each of which runs until the study ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manticore.config.launching import LaunchOptions
from manticore.errors import ManticoreError
from manticore.studies.launchers.base import Crew, check_package, check_settings, crew_of, launchers
from manticore.studies.workers import Ending, Launcher

SETTINGS: Mapping[str, type | tuple[type, ...]] = {"address": str, "num_cpus": (int, float), "num_gpus": (int, float)}
"""Settings: the address of the cluster; CPUs and GPUs of each worker."""


@launchers.register("ray")
def ray_tasks(options: LaunchOptions, folder: Path) -> Crew:
    """Tasks of the Ray cluster of $RAY_ADDRESS, or of this machine; `auto`: as many as its GPUs, or CPUs, allow."""
    check_package("ray", "ray")
    check_settings(options.values, SETTINGS, "ray")
    return crew_of(RayLauncher(**options.values), options, folder)


class RayLauncher(Launcher):
    """Starts workers as tasks of a Ray cluster.

    Args:
        address: of the cluster.
        num_cpus: CPUs of each worker; it may be a fraction.
        num_gpus: GPUs of each worker. Default: 1 if the cluster has GPUs.

    Raises ManticoreError if there is no cluster.
    """

    def __init__(self, address: str = "auto", num_cpus: float = 1, num_gpus: float | None = None) -> None:
        import ray

        self._connected = not ray.is_initialized()
        if self._connected:
            try:
                ray.init(address, log_to_driver=False, logging_level="error")
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0][:120]
                raise ManticoreError(
                    f"--launcher ray: no Ray cluster can be reached ({reason}); start one with ray start --head, or "
                    "name one by --launcher-set address=HOST:PORT"
                ) from error
        total = ray.cluster_resources()
        self.num_cpus = num_cpus
        self.num_gpus = (1 if total.get("GPU") else 0) if num_gpus is None else num_gpus

    def default_workers(self) -> int:
        """As many as the GPUs of the cluster allow, or, without GPUs, its CPUs."""
        import ray

        total = ray.cluster_resources()
        if self.num_gpus:
            return max(1, int(total.get("GPU", 0) / self.num_gpus))
        return max(1, int(total.get("CPU", 0) / self.num_cpus)) if self.num_cpus else 1

    def start(self, work: Callable[[], str], folder: Path) -> RayWorker:
        """Start `work` as a task that is not repeated by Ray."""
        import ray

        task: Any = ray.remote(_run)
        return RayWorker(task.options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0).remote(work))

    def close(self) -> None:
        """Leave the cluster, if it was joined by this object."""
        import ray

        if self._connected:
            ray.shutdown()


class RayWorker:
    """A task that runs a worker."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def ending(self) -> Ending | None:
        """See `Worker`."""
        import ray

        if not ray.wait([self.task], timeout=0)[0]:
            return None
        try:
            return Ending(error=ray.get(self.task))
        except Exception as error:  # of Ray, or of the worker
            return Ending(f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:200]}")

    def stop(self) -> None:
        """See `Worker`."""
        import ray

        ray.cancel(self.task, force=True)


def _run(work: Callable[[], str]) -> str:
    return work()
