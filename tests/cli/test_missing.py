"""Models and folders that do not exist are refused within a second, with advice that the command has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = "name a run folder, an exported folder or a model (manticore ls models)"

MISSING = [
    (["generate", "runs/mine", "--prompt", "It is"], f"no such folder: runs/mine; {FOLDER}"),
    (["generate", "./mine", "--prompt", "It is"], f"no such folder: ./mine; {FOLDER}"),
    (["generate", "gpt-neo-nan", "--prompt", "It is"], "unknown model 'gpt-neo-nan'. Did you mean 'gpt-neo-nano'?"),
    (["evaluate", "runs/mine"], f"no such folder: runs/mine; {FOLDER}"),
    (
        ["finetune", "runs/mine", "--out", "out"],
        "no such folder: runs/mine; finetune trains a run folder or an exported",
    ),
    (
        ["export", "runs/mine", "--out", "out"],
        "no such folder: runs/mine; export takes the folder of a finished search",
    ),
    (["export", "--models", "gpt-neo-nano,./ssm", "--path", "ssm", "--out", "out"], "no such model folder: ./ssm"),
    (["report", "runs/mine"], "no such folder: runs/mine; report takes a run folder, or the --out of compare"),
    (["pretrain", "--config", "pretrain/mamba-nano", "--text", "corpus", "--out", "out"], "folder of text: corpus"),
    (["align", "--models", "gpt-neo-nano,./ssm", "--text", "a.txt", "--out", "out"], "no such model folder: ./ssm"),
    (["align", "--models", "gpt-neo-nano,mamba-nano", "--text", "a.txt", "--out", "out"], "folder of text: a.txt"),
    (["search", "--out", "runs/mine", "--resume"], "there is no run to resume in runs/mine: no runs/mine/recipe.yaml"),
    (["compare", "--out", "out"], "compare needs models and a task, such as --models gpt-neo,mamba --task lra-listops"),
    (["search"], "search needs models and a task, such as --models gpt-neo,mamba --task lra-listops"),
    (["search", "--preset", "cpu", "--stages", "2", "--set", "search.steps=3"], "search needs models and a task"),
    (["search", "--models", "gpt-neo,./ssm"], "no such model folder: ./ssm"),
    (["search", "--models", "gpt-neo,mamb"], "unknown model 'mamb'. Did you mean 'mamba'?"),
    (["compare", "--models", "gpt-neo,runs/ssm/model", "--out", "out"], "no such model folder: runs/ssm/model"),
]


@pytest.mark.parametrize(
    ("args", "message"), MISSING, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_does_not_exist_is_refused_before_torch_is_imported(args: list[str], message: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom manticore.cli import main\n"
        f"status = main({args})\n"
        "print(status, sorted({'torch', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "2 []\n"
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not any(word in done.stderr for word in ("hub", "HF_HOME", "--models /path"))
    assert list(tmp_path.iterdir()) == []
