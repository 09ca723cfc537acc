"""`manticore report --watch`: the page of a run that goes on, is killed, or ends, on the loopback address."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from manticore.pipelines.watch import page
from manticore.report.live import read_progress
from manticore.studies.store import JobStore
from manticore.studies.trial import make_trial
from manticore.utils.io import write_json
from tests.helpers.cli import refusal
from tests.helpers.html import Reader
from tests.helpers.pico_study import recipe, trial_result
from tests.helpers.run_locks import running


@pytest.fixture
def unfinished(pico_run: Path, tmp_path: Path) -> Path:
    """The folder of a search in the middle of its last phase."""
    folder = Path(shutil.copytree(pico_run, tmp_path / "run"))
    for name in ("metrics.json", "report.html", "checkpoints/random-path.json"):
        (folder / name).unlink()
    record = json.loads((folder / "logs/progress.json").read_text())
    (folder / "logs/progress.json").write_text(json.dumps({**record, "step": record["steps"] // 2}))
    return folder


def text_of(folder: Path) -> str:
    return Reader(page(folder)).plain_text


def test_a_search_leaves_its_progress_behind(pico_run: Path) -> None:
    progress = read_progress(pico_run / "logs/progress.json")
    assert progress is not None
    assert progress.title == "random path (6 of 6)"
    assert progress.step == progress.steps > 0
    assert progress.seconds_left == 0
    assert progress.details.startswith(f"step {progress.steps} of {progress.steps} · loss ")
    logged = (pico_run / "logs/csv/search/metrics.csv").read_text().splitlines()
    assert len(logged) == 1 + 24 / 2


def test_a_run_that_goes_on_shows_its_phases_losses_and_weights(unfinished: Path) -> None:
    with running(unfinished):
        text, labels = text_of(unfinished), Reader(page(unfinished)).labels
    assert "gpt-neo + mamba on lra-listops" in text
    assert "Running: random path (6 of 6). step " in text
    assert "Selected path: stage 1 " in text
    assert "random path" in text.split("Phases")[1].split("Mixing weights")[0].split("search")[1]
    assert sum(label.startswith("Mixing weights at stage") for label in labels) == 4
    assert any(label.startswith("Training loss of search: ") for label in labels)
    (unfinished / "architecture.json").unlink()
    assert "Leading so far: stage 1 " in text_of(unfinished)


def test_a_run_without_a_process_has_stopped_and_can_be_resumed(unfinished: Path) -> None:
    text = text_of(unfinished)
    assert "This run has stopped in random path (6 of 6), by an interrupt or an error" in text
    assert f"manticore search --out {unfinished} --resume" in text
    shutil.rmtree(unfinished / "logs")
    (unfinished / "alphas.jsonl").unlink()
    shutil.rmtree(unfinished / "checkpoints")
    assert "This run has stopped, by an interrupt or an error" in text_of(unfinished)


def test_a_progress_file_that_is_being_written_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    for text in ("", '{"phase": "sea', "[]", '{"phase": "search"}'):
        file.write_text(text)
        assert read_progress(file) is None


def test_a_study_shows_its_trials(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "trials")
    trials = [make_trial(recipe(), "0", "uniform", {"name": "uniform"}, seed, 0.001) for seed in range(3)]
    store.claim(trials[0])
    assert "The study is running. 0 trials finished, 1 running." in text_of(tmp_path)
    store.finish(trials[0], trial_result(0.5, trials[0]))
    store.claim(trials[1])
    store.fail(trials[1], "an error")
    text = text_of(tmp_path)
    assert "No process runs a trial of this study. 1 trial finished, 0 running, 1 failed." in text
    assert "uniform uniform 0 0.001 val 50.0 %" in text
    write_json(store.path(trials[2], "claim"), {"pid": 1, "host": f"not {socket.gethostname()}"})
    write_json(store.path(trials[1], "claim"), {"pid": 1, "host": socket.gethostname()})
    assert "1 trial finished, 1 running" in text_of(tmp_path), "that of another machine counts, a dead one does not"


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    assert "--port and --open go with --watch" in refusal(capsys, "report", pico_run, "--port", "1234")
    assert "of at least 0 and at most 65535, got 65536" in refusal(
        capsys, "report", pico_run, "--watch", "--port", "65536"
    )
    assert "is no run folder" in refusal(capsys, "report", tmp_path, "--watch")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = refusal(capsys, "report", pico_run, "--watch", "--port", port)
    assert f"port {port} is in use by another program; choose another with --port, or --port 0" in error


@contextmanager
def watching(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`manticore report FOLDER --watch` on a free port, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "manticore.cli", "report", str(folder), "--watch", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            line = process.stdout.readline()
            assert line.endswith(f" shows {folder} and follows it; Ctrl-C ends\n"), process.stderr.read()
            yield process, line.split()[0]
        finally:
            process.kill()
            process.wait()


def get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.e2e
def test_the_page_follows_a_run_that_is_killed_and_resumed(unfinished: Path, pico_run: Path) -> None:
    with watching(unfinished) as (watch, address):
        with running(unfinished) as search:
            assert "Running: random path (6 of 6)." in get(address)[1]
            search.kill()
            search.wait()
            assert "This run was killed in random path (6 of 6)" in get(address)[1]
        (unfinished / "metrics.json").write_text("{")
        assert get(address)[0] == 503
        for name in ("metrics.json", "report.html"):
            shutil.copy2(pico_run / name, unfinished / name)
        assert get(address) == (200, (pico_run / "report.html").read_text())
        assert get(f"{address}other")[0] == 404
        assert get(f"{address}favicon.ico") == (204, "")
        assert get(address, Host="example.org")[0] == 403
        assert get(address, Host=address.split("/")[2].replace("127.0.0.1", "localhost"))[0] == 200
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert (watch.stdout.read(), watch.stderr.read()) == ("", "")
