"""`manticore push` publishes a whole folder with a completed card; every refusal is one line, and nothing is sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from transformers import AutoModelForCausalLM

from manticore.cli import main
from manticore.components.licenses import DerivedLicense, License
from manticore.config.model_commands import PushCommand
from manticore.pipelines import push
from tests.helpers.cli import call, refusal
from tests.helpers.hub_server import TOKEN, Hub, hub_server

pytestmark = pytest.mark.e2e

REPO = "me/my-hybrid"
FREE = ("--license", "apache-2.0", "--no-check")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push") / "by-hand"
    export = ["export", "--models", "gpt-neo-nano,mamba-nano", "--path", "gpt-neo-nano,mamba-nano"]
    assert main([*export, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as hub:
        use(monkeypatch, hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files by the protocol of git LFS


def test_all_files_arrive_in_one_commit_and_load(
    capsys: pytest.CaptureFixture[str], hub: Hub, exported: Path, tmp_path: Path
) -> None:
    (exported / ".hidden").write_text("not published")
    status, out, err = call(capsys, "push", exported, REPO, "--private", *FREE)
    assert (status, err) == (0, ""), err
    assert out.strip().endswith(f"{hub.address}/{REPO}")
    (request,) = hub.created
    assert request["visibility"] == "private"
    assert (request["organization"], request["name"]) == ("me", "my-hybrid")
    assert hub.commits == ["Upload with manticore"]
    files = {file.name: file.read_bytes() for file in exported.iterdir() if file.name != ".hidden"}
    sent = hub.repos[REPO]
    assert set(sent) == set(files)
    assert {name for name in files if sent[name] != files[name]} == {"README.md"}
    card = ModelCard(sent["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "transformers"
    assert f'from_pretrained("{REPO}", trust_remote_code=True)' in card.text
    assert TOKEN not in sent["README.md"].decode()
    downloaded = AutoModelForCausalLM.from_pretrained(hub.download(REPO, tmp_path))
    original = AutoModelForCausalLM.from_pretrained(exported)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(downloaded(ids).logits, original(ids).logits)
    assert call(capsys, "push", exported, REPO, *FREE, "--message", "again")[0] == 0
    assert hub.commits == ["Upload with manticore", "again"]


def test_a_dry_run_shows_all_and_needs_neither_token_nor_hub(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    use(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(push, "get_token", lambda: None)
    status, out, err = call(capsys, "push", exported, REPO, "--dry-run", "--no-check")
    assert (status, err) == (0, "")
    size = (exported / "model.safetensors").stat().st_size
    assert "model.safetensors" in out
    assert f"{size:,} bytes" in out
    assert f'from_pretrained("{REPO}",' in out
    assert out.rstrip().endswith("nothing was sent (--dry-run)")


def test_refusals_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hub: Hub, exported: Path, tmp_path: Path
) -> None:
    args = ("push", exported, REPO, *FREE)
    assert "is called user/name" in refusal(capsys, "push", exported, "my-hybrid")
    assert "holds no model" in refusal(capsys, "push", tmp_path, REPO)
    assert "refuses you/it: the token may not write there (HTTP 403)" in refusal(
        capsys, "push", exported, "you/it", *FREE
    )
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "it does not accept the token (HTTP 401)" in refusal(capsys, *args)
    monkeypatch.setattr(push, "get_token", lambda: None)
    assert "there is no token of the hub: hf auth login" in refusal(capsys, *args)
    monkeypatch.setattr(push, "get_token", lambda: TOKEN)
    use(monkeypatch, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refusal(capsys, *args)
    without = tmp_path / "without"
    shutil.copytree(exported, without)
    (without / "README.md").unlink()
    assert "has no card README.md" in refusal(capsys, "push", without, REPO)
    assert not hub.repos


@pytest.mark.slow
def test_code_of_the_card_that_fails_stops_it(
    capsys: pytest.CaptureFixture[str], hub: Hub, exported: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    card = (broken / "README.md").read_text("utf-8")
    push.run_usage(card, broken)  # as it was exported, it works
    (broken / "README.md").write_text(card.replace("AutoTokenizer.from", "AutoTokenizers.from"), encoding="utf-8")
    assert "the Python code of" in refusal(capsys, "push", broken, REPO)
    assert not hub.repos


def test_parents_of_the_hub_are_base_models(tmp_path: Path) -> None:
    components = {
        "pythia": {"source": "pythia", "pretrained": True, "revision": "step143000"},
        "mamba": {"source": "state-spaces/mamba-130m-hf", "pretrained": True, "revision": "main"},
        "mine": {"source": "models/mine", "pretrained": True, "revision": None},
        "gpt2": {"source": "gpt2", "pretrained": False, "revision": None},
        "packed": {"source": "smollm2-instruct", "pretrained": True, "revision": "0.1.2"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"components": components}))
    assert list(push.parents_on_hub(tmp_path)) == ["EleutherAI/pythia-160m", "state-spaces/mamba-130m-hf"]
    card = push.complete_card("---\nbase_model: EleutherAI/pythia-160m\n---\n\n# A\n", tmp_path, REPO)
    data = ModelCard(card).data
    local = 'folder = "."  # the folder of this card\n'
    assert f'folder = "{REPO}"\n' in push.complete_card(f"# A\n\n```python\n{local}```\n", tmp_path, REPO)
    assert data.base_model == ["EleutherAI/pythia-160m", "state-spaces/mamba-130m-hf"]
    assert data.base_model_relation == "merge"
    assert PushCommand(model=tmp_path, repo=REPO).check


def test_licences_that_differ_or_are_unknown_stop_it(
    capsys: pytest.CaptureFixture[str], hub: Hub, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    license = DerivedLicense({"a": License(("apache-2.0",)), "b": License(("llama3",))}).front_matter()
    for values, reason in (
        (license, "the licences of the parents differ (apache-2.0 and llama3), so nothing is published"),
        ({"license": "unknown"}, "the licence of a parent is unknown, so nothing is published"),
    ):
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(values)}---\n\n# A hybrid\n", encoding="utf-8")
        assert reason in refusal(capsys, "push", folder, REPO, "--no-check")
        out = call(capsys, "push", folder, REPO, "--no-check", "--dry-run")[1]
        assert f"it would be refused: {reason.partition(',')[0]}; nothing was sent" in out
    assert not hub.repos
    assert call(capsys, "push", folder, REPO, "--no-check", "--license", "llama3")[0] == 0
    assert ModelCard(hub.repos[REPO]["README.md"].decode()).data.license == "llama3"
