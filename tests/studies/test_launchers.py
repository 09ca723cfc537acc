"""What starts workers: this machine, a Ray cluster of three nodes of which one dies, and jobs of submitit."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manticore.config.launching import LaunchOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.studies import workers
from manticore.studies.launchers import base, start_crew
from manticore.studies.launchers.submitit import SubmititLauncher, SubmititWorker
from manticore.studies.pool import JobProgress, ProcessPool, run_all, run_serially
from manticore.studies.store import JobStore
from manticore.utils.cores import available_cores
from tests.helpers.cli import refusal
from tests.studies.test_pool import crashing, jobs_for, log_of

COMPARE = ("compare", "--task", "mad-copying", "--models", "gpt-neo,mamba", "--out", "nowhere")


def slow(job: dict[str, Any]) -> dict[str, Any]:
    """Write the node, if it is one of Ray, and the seed to the log of the job, slowly."""
    node = ""
    if "ray" in sys.modules:
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    with Path(job["log"], "log").open("a") as log:
        log.write(f"{node}:{job['seed']}\n")
    time.sleep(0.2)
    return {"square": job["seed"] ** 2, "directory": os.getcwd()}


def test_workers_of_this_machine() -> None:
    assert start_crew(LaunchOptions(), Path("x")).executor is run_serially
    assert start_crew(LaunchOptions(workers=3), Path("x")).executor == ProcessPool(3)
    crew = start_crew(LaunchOptions(workers="auto"), Path("x"))
    assert (crew.workers, crew.is_local) == (max(1, available_cores() // 2), True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--launcher", "rae"), "unknown launcher 'rae'. Did you mean 'ray'? Known: local, ray, submitit."),
        (("--workers", "few"), "argument --workers: must be a whole number of at least 1, or auto, got 'few'"),
        (("--workers", "0"), "argument --workers: must be a whole number of at least 1, or auto, got 0"),
        (
            ("--launcher-set", "num_gpus=1"),
            "--launcher-set goes with --launcher ray or submitit; local has no settings",
        ),
        (("--launcher", "ray", "--launcher-set", "1"), "--launcher-set takes KEY=VALUE, such as num_gpus=1, not '1'"),
        (("--launcher", "ray", "--launcher-set", "a={"), "--launcher-set a: '{' is not a value"),
    ],
)
def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str) -> None:
    assert message in refusal(capsys, *COMPARE, *flags)


@pytest.mark.parametrize(("package", "extra"), [("ray", "ray"), ("submitit", "slurm")])
def test_a_missing_package_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    line = refusal(capsys, *COMPARE, "--launcher", package)
    assert (
        f"--launcher {package} needs {package}, which is not installed: pip install 'manticore-hybrids[{extra}]'"
        in line
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of three nodes with one CPU each; the first one does not run tasks."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **size})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield cluster
    cluster.shutdown()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray, which leaves sockets and files open
def test_a_node_of_a_ray_cluster_dies_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    store, jobs = JobStore(tmp_path / "store"), jobs_for(tmp_path, 40)
    victim = cluster.list_all_nodes()[-1]
    settled: list[JobProgress] = []

    def watch(progress: JobProgress) -> None:
        settled.append(progress)
        nodes = {line.partition(":")[0] for line in log_of(str(tmp_path))}
        if victim in cluster.list_all_nodes() and len(settled) >= 6 and victim.node_id in nodes:
            cluster.remove_node(victim, allow_graceful=False)

    options = LaunchOptions(workers="auto", launcher="ray", settings=(f"address={cluster.address}",))
    with start_crew(options, tmp_path) as crew:
        assert (crew.workers, crew.is_local) == (3, False)
        outcome = run_all(jobs, slow, store, crew.executor, watch)
    assert (outcome.failed, outcome.claimed) == ({}, [])
    assert [result["square"] for result in outcome.results] == [seed**2 for seed in range(40)]
    assert {result["directory"] for result in outcome.results} == {os.getcwd()}
    assert victim not in cluster.list_all_nodes()
    runs = [line.partition(":") for line in log_of(str(tmp_path))]
    assert len({node for node, _, _ in runs}) == 3, "all nodes have worked"
    assert 40 <= len(runs) <= 41, "but for one on the node that died, each job was run once"
    assert not list(store.folder.glob("*.claim.json"))


def test_ray_settings_and_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")

    def unreachable(address: str, **options: object) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {address}.\nPlease specify one.")

    monkeypatch.setattr(ray, "init", unreachable)
    with pytest.raises(ManticoreError, match=r"no Ray cluster can be reached \(Could not find any .*; start one with"):
        start_crew(LaunchOptions(launcher="ray"), tmp_path)
    with pytest.raises(ManticoreError, match="--launcher-set gpus: launcher ray has no such setting; it has address,"):
        start_crew(LaunchOptions(launcher="ray", settings=("gpus=1",)), tmp_path)
    with pytest.raises(ManticoreError, match="--launcher-set num_gpus=many: not a value of this setting"):
        start_crew(LaunchOptions(launcher="ray", settings=("num_gpus=many",)), tmp_path)


@pytest.mark.e2e
def test_jobs_of_submitit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(workers, "STOP_SECONDS", 5.0)
    store = JobStore(tmp_path / "store")
    options = LaunchOptions(workers=2, launcher="submitit", settings=("cluster=local", "timeout_min=5"))
    with start_crew(options, tmp_path / "out") as crew:
        assert not (tmp_path / "out").exists(), "nothing is written before there is work"
        outcome = run_all(jobs_for(tmp_path, 8, at_3={"once": True}), crashing, store, crew.executor)
        assert len(list((tmp_path / "out").rglob("*_log.err"))) >= 2
    assert [result["square"] for result in outcome.results] == [seed**2 for seed in range(8)]
    assert sorted(log_of(str(tmp_path))) == sorted([*map(str, range(8)), "3"]), "the job of the killed worker ran again"
    assert not (tmp_path / "out" / "workers").exists()


def test_settings_of_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ManticoreError, match="needs the number of jobs, as in --workers 8"):
        start_crew(LaunchOptions(workers="auto", launcher="submitit"), tmp_path)
    with pytest.raises(ManticoreError, match="--launcher submitit: Unknown argument 'partitions' for executor 'slurm'"):
        SubmititLauncher(cluster="local", slurm_partitions="gpu")
    with pytest.raises(ManticoreError, match=r"--launcher submitit: .*timeout_min"):
        SubmititLauncher(cluster="local", timeout_min="long")
    with pytest.raises(ManticoreError, match="doesn't know any executor named moon"):
        SubmititLauncher(cluster="moon")


class Preempted:
    """A job of SLURM whose time is over."""

    job_id, state = "7", "TIMEOUT"

    def done(self) -> bool:
        return True

    def exception(self) -> Exception:
        return RuntimeError("Job (task=0) failed during processing with trace:\n-----\nmore")


def test_a_job_that_slurm_has_ended_says_why() -> None:
    ending = SubmititWorker(Preempted()).ending()
    assert ending == ("job 7, TIMEOUT: Job (task=0) failed during processing with trace:", "")


def test_an_unknown_launcher() -> None:
    with pytest.raises(UnknownName, match="Known: local, ray, submitit"):
        start_crew(LaunchOptions(launcher="slurm"), Path("x"))
