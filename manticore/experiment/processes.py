"""Starts the processes of a command that train together, and ends them together.

The first process runs the command. All others run the same command line up to this point, then train along, training
after training, and write and print nothing. Lightning starts them on this machine, or torchrun or SLURM has started
all. If a process ends too early, stops, or hangs, the first one ends with one line, and the others with it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from manticore.config.processes import ProcessOptions
from manticore.config.sections import RunOptions
from manticore.errors import LostProcess, ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.heartbeat import Heartbeat, silence
from manticore.experiment.idle_watch import IdleWatch, idleness
from manticore.training.trainer import Hardware, finish, serve
from manticore.utils.cores import available_cores
from manticore.utils.devices import choose_device
from manticore.utils.failures import in_words
from manticore.utils.ranks import Ranks

T = TypeVar("T")

WAIT = timedelta(minutes=30)
"""Longest time that a process waits for the others within a training."""

PATIENCE = timedelta(days=365)
"""Longest time that a process waits for the next training."""

POLL = 1.0
"""Seconds between two looks at the processes that were started here."""

GRACE = 5.0
"""Seconds in which the first process may notice by itself that another one has ended."""

INTERRUPT = getattr(signal, "SIGUSR2", signal.SIGINT)
"""The signal that interrupts the main thread."""

CAUSE = "manticore/cause"
"""Key of the store of the group for why a process has ended."""


def run_together(options: ProcessOptions, run: RunOptions, work: Callable[[Hardware], T]) -> T:
    """`work(hardware)` in the first process, while all others train along.

    The other processes end with SystemExit.

    Raises ManticoreError if the processes cannot be started, and LostProcess if one has ended too early.
    """
    environment, devices = _environment(), _devices(options, run)
    external = environment.creates_processes_externally
    count = environment.world_size() if _knows_world(environment) else devices * options.num_nodes
    if count == 1:
        return work(setup_hardware(run))
    if _knows_world(environment) and options.devices is not None and devices * options.num_nodes != count:
        raise ManticoreError(
            f"--devices {options.devices} with --num-nodes {options.num_nodes} is not the number of processes that "
            f"were started, {count}; leave both out"
        )
    _check_devices(run, devices)
    children: Sequence[Any] = () if external else _start(environment, devices, options.num_nodes)
    with _group(environment, count, devices, run) as ranks:
        hardware = _hardware(run, ranks, environment.local_rank(), devices)
        hardware = replace(hardware, is_sharded=options.distributed == "fsdp")
        if not ranks.is_first:
            parent = None if _knows_world(environment) or environment.node_rank() else os.getppid()
            with (
                Heartbeat(ranks, environment.main_address, lambda _: _leave(ranks, parent)),
                IdleWatch(lambda: True, lambda location: _give_up(ranks, location)),
            ):
                _serve(hardware)
        with _watching(children, ranks, environment.main_address):
            return _lead(hardware, work)


def _environment() -> ClusterEnvironment:
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "LOCAL_RANK" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # started by srun
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # of wrong options of sbatch
            raise ManticoreError(str(error)) from None
    return LightningEnvironment()


def _knows_world(environment: ClusterEnvironment) -> bool:
    return not isinstance(environment, LightningEnvironment)


def _devices(options: ProcessOptions, run: RunOptions) -> int:
    """Number of processes on each machine."""
    if options.devices == "auto":
        return max(1, torch.cuda.device_count()) if choose_device(run.device).type == "cuda" else 1
    return int(options.devices or 1)


def _check_devices(run: RunOptions, devices: int) -> None:
    device = choose_device(run.device)
    if device.index is not None:
        raise ManticoreError(f"run.device={run.device} is a single GPU; several processes need run.device=cuda or cpu")
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise ManticoreError(f"--devices {devices}, but torch sees {torch.cuda.device_count()} GPUs here")


def _start(environment: ClusterEnvironment, devices: int, num_nodes: int) -> Sequence[Any]:
    """Start the same command line for the other processes of this machine. Returns them."""
    import __main__

    if not hasattr(__main__, "__file__"):
        raise ManticoreError(
            "several processes repeat the command or the script, which a notebook or a prompt does not have; run a "
            "script, or use --devices 1"
        )
    launcher = _SubprocessScriptLauncher(environment, devices, num_nodes)
    launcher._call_children_scripts()  # `launch` would also kill this process, without a message, when one has ended
    return launcher.procs


@contextmanager
def _group(environment: ClusterEnvironment, count: int, devices: int, run: RunOptions) -> Iterator[Ranks]:
    """The group of all processes."""
    environment.set_world_size(count)
    environment.set_global_rank(environment.node_rank() * devices + environment.local_rank())
    os.environ.update(MASTER_ADDR=environment.main_address, MASTER_PORT=str(environment.main_port))
    is_cuda = choose_device(run.device).type == "cuda"
    if is_cuda:
        torch.cuda.set_device(environment.local_rank())
    rank = environment.global_rank()
    try:
        backend = "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
        dist.init_process_group(backend, "env://", WAIT, count, rank)
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    except RuntimeError as error:
        raise LostProcess(str(error).splitlines()[0]) from error
    try:
        yield Ranks(rank, count, patient)
    finally:
        dist.destroy_process_group()


def _hardware(run: RunOptions, ranks: Ranks, local_rank: int, local: int) -> Hardware:
    """The device of this process, and as many threads as it has cores."""
    if not run.threads and "OMP_NUM_THREADS" not in os.environ:
        run = replace(run, threads=max(1, available_cores() // local))
    hardware = setup_hardware(run)
    return replace(hardware, ranks=ranks, index=local_rank if hardware.accelerator == "cuda" else None)


def _serve(hardware: Hardware) -> None:
    """Train along until the first process is done. Raises SystemExit."""
    try:
        serve(hardware)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except LostProcess:
        raise SystemExit(1) from None
    except Exception as error:
        known = in_words(error)
        if known is None:
            raise
        _store_cause(f"process {hardware.ranks.rank}: {known}")
        raise SystemExit(1) from None
    raise SystemExit(0)


def _lead(hardware: Hardware, work: Callable[[Hardware], T]) -> T:
    """`work(hardware)`; afterwards the other processes are done, unless a training was left in the middle."""
    try:
        return work(hardware)
    except LostProcess as error:
        if (cause := _cause()) is not None:
            raise LostProcess(cause) from error
        raise
    finally:
        if not hardware.ranks.left:
            finish(hardware)


def _store_cause(cause: str) -> None:
    """Store why this process ends, for the error line of the first process."""
    dist.distributed_c10d._get_default_store().set(CAUSE, cause)


def _cause() -> str | None:
    """Why another process has ended, if it has stored a cause."""
    if not dist.is_initialized():
        return None
    store = dist.distributed_c10d._get_default_store()
    for _ in range(10):
        if store.check([CAUSE]):
            return str(store.get(CAUSE).decode())
        time.sleep(0.1)
    return None


def _leave(ranks: Ranks, first: int | None) -> None:
    """End this process, because the first one has stopped, and the first one with it if this one can: it is `first`."""
    error = LostProcess(silence(0))
    if ranks.rank == 1:
        _print(error)
    if first is not None and first == os.getppid():
        os.kill(first, signal.SIGKILL)
    os._exit(error.exit_status)


def _give_up(ranks: Ranks, location: str) -> None:
    """End this process, whose main thread hangs; the first one prints why."""
    with suppress(Exception):  # the first one may have ended
        _store_cause(idleness(ranks.rank, location))
    os._exit(1)


def _print(error: LostProcess) -> None:
    print(f"manticore: error: {error}", file=sys.stderr, flush=True)


@contextmanager
def _watching(children: Sequence[Any], ranks: Ranks, address: str) -> Iterator[None]:
    """Interrupt the main thread if it hangs in a training, or another process ends or stops, while the context is open.

    The end of a process is detected if it was started here, as one of `children`. A child that stops is killed.
    """
    ended = threading.Event()
    lost: list[str] = []
    # A command that a shell runs in the background ignores SIGINT, so that it cannot be the signal.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(INTERRUPT, signal.default_int_handler) if is_main and INTERRUPT != signal.SIGINT else None

    def watch() -> None:
        while not ended.wait(POLL):
            if any(child.poll() is not None for child in children) and not ended.wait(GRACE):
                lost.append(_cause() or "it was started by this one")
                _thread.interrupt_main(INTERRUPT)
                return

    def end(reason: str) -> None:
        error = LostProcess(reason)
        lost.append(reason)
        ranks.left.append(error)
        _thread.interrupt_main(INTERRUPT)
        if not ended.wait(GRACE):  # the interrupt does not arrive where the main thread waits
            _print(error)
            os._exit(error.exit_status)

    def on_silence(rank: int) -> None:
        if rank <= len(children):
            lost.append(silence(rank))
            children[rank - 1].kill()
        else:
            end(silence(rank))

    thread = threading.Thread(target=watch, name="manticore-processes", daemon=True)
    if children:
        thread.start()
    try:
        with (
            Heartbeat(ranks, address, on_silence),
            IdleWatch(lambda: bool(ranks.busy), lambda location: end(idleness(0, location))),
        ):
            try:
                yield
            finally:
                ended.set()
    except (KeyboardInterrupt, LostProcess):
        if lost:
            raise LostProcess(lost[0]) from None
        raise
    finally:
        if before is not None:
            signal.signal(INTERRUPT, before)
