"""A component whose model classes are a user's own: their source goes into the checkpoint, or the search is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import manticore as mc
from manticore.components.families import families
from manticore.errors import ManticoreError
from manticore.kernels import uninstall
from manticore.modeling import segments
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e

MODELS = '''
"""A language model of a user's own: gated linear units that see one token back."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import logging
HELPER_IMPORT

logger = logging.get_logger(__name__)
SPREAD = 0.02


class GatedConfig(PretrainedConfig):
    model_type = "gated-lm"

    def __init__(self, vocab_size=8, hidden_size=16, num_hidden_layers=2, **kwargs):
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        super().__init__(**kwargs)


@dataclass
class Shape:
    width: int


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.up = nn.Linear(2 * shape.width, 2 * shape.width)
        self.down = nn.Linear(shape.width, shape.width)

    def forward(self, x):
        y = self.norm(x)
        past = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], dim=1)
        gate, value = self.up(torch.cat([y, past], dim=-1)).chunk(2, dim=-1)
        return x + HELPER_CALL(self.down(silu(gate) * value))


class GatedPreTrainedModel(PreTrainedModel):
    config_class = GatedConfig
    base_model_prefix = "model"

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=SPREAD)


class GatedModel(GatedPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Layer(Shape(config.hidden_size)) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def set_input_embeddings(self, value):
        self.embed = value

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, **kwargs):
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        for block in self.blocks:
            x = block(x)
        if x.shape[-1] != self.config.hidden_size:
            logger.warning("another width")
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x))


class GatedForCausalLM(GatedPreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.model = GatedModel(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        return CausalLMOutputWithPast(logits=self.head(self.model(input_ids, attention_mask).last_hidden_state))


AutoConfig.register("gated-lm", GatedConfig, exist_ok=True)
AutoModel.register(GatedConfig, GatedModel, exist_ok=True)
AutoModelForCausalLM.register(GatedConfig, GatedForCausalLM, exist_ok=True)
'''

FAMILY = """
from manticore.components import Family
from manticore.modeling.segments import BackboneLayout
import manticore as mc

mc.register.family("gated")(
    Family(
        ("gated-lm",),
        BackboneLayout("blocks", "norm", "embed"),
        lambda size: {"hidden_size": size.width, "num_hidden_layers": size.layers},
    )
)
"""

STRANGER = """
import sys, torch
sys.modules["manticore"] = sys.modules["gated_models"] = None  # importing them is an error from here on
from transformers import AutoModelForSequenceClassification
ids, want = torch.load("expected.pt")
model = AutoModelForSequenceClassification.from_pretrained("hybrid", trust_remote_code=True)
backbone = model.model.stages[0].segment.backbone
assert type(backbone).__name__ == "GatedModel", type(backbone)
with torch.no_grad():
    assert torch.equal(model(input_ids=ids).logits, want)
print("same")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable folder; what a test registers from it is removed again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    mc.register.task(NAME)(which_end)
    yield tmp_path
    from manticore.tasks.task import tasks

    tasks._items.pop(NAME, None)
    families._items.pop("gated", None)
    for auto in (AutoConfig, AutoModel, AutoModelForCausalLM):
        mapping = getattr(auto, "_model_mapping", None)
        for key in [key for key in getattr(mapping, "_extra_content", {}) if key.__name__ == "GatedConfig"]:
            del mapping._extra_content[key]
    for name in ("gated_models", "gated_helper", "gated_family"):
        sys.modules.pop(name, None)


def write_models(folder: Path, helper: str = "") -> None:
    """The user's files. `helper` is imported from another file of theirs."""
    call = f"{helper}" if helper else ""
    text = MODELS.replace("HELPER_IMPORT", f"from gated_helper import {helper}" if helper else "")
    (folder / "gated_models.py").write_text(text.replace("HELPER_CALL", call))
    (folder / "gated_helper.py").write_text("def halved(x):\n    return x / 2\n")
    (folder / "gated_family.py").write_text(FAMILY)
    import_module("gated_models")
    import_module("gated_family")


SPACE = {"stages": 2, "base": "own", "stage_candidates": {1: "own"}}
COMPONENTS = [{"source": "gated", "name": "own", "init": "scratch"}, "mamba"]
OPTIONS = {
    **QUICK,
    "baselines": {"components": False, "uniform": False, "random": False},
}


def test_a_checkpoint_with_a_users_model_loads_where_its_file_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_models(folder)
    result = mc.search(mc.SearchSpace(COMPONENTS, **SPACE), NAME, out=folder / "run", quiet=True, **OPTIONS)
    assert result.architecture.path[0] == "own"
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    (folder / "elsewhere").mkdir()
    os.rename(result.checkpoint, folder / "elsewhere" / "hybrid")
    ids = torch.tensor([[3, 4, 5, 2], [4, 4, 2, 3]])
    with torch.no_grad():
        torch.save(
            (ids, mc.load(folder / "elsewhere" / "hybrid")(input_ids=ids).logits), folder / "elsewhere" / "expected.pt"
        )
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER], cwd=folder / "elsewhere", capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "same"


def test_a_model_of_several_files_is_refused_before_the_search(folder: Path) -> None:
    write_models(folder, "halved")
    with pytest.raises(ManticoreError, match=r"component model 'gated-lm' uses 'halved', .*put the rest into its file"):
        mc.search(mc.SearchSpace(COMPONENTS, **SPACE), NAME, out=folder / "run", quiet=True, **OPTIONS)
    assert not (folder / "run").exists()
