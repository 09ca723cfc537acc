"""An export loads as every Auto class that tools ask for, with the usual arguments; others are refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from manticore.errors import ManticoreError
from manticore.export.checkpoint import save_checkpoint
from manticore.export.load import load_hybrid
from manticore.modeling.configuration_manticore import AUTO_MAP
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, supernet, tokens

WITHOUT_MANTICORE = """
import sys, torch, transformers
sys.modules["manticore"] = None  # importing it is now an error
ids, streams = torch.load(sys.argv[1])
names = [name for name in sys.argv[2].split(",") if name != "AutoConfig"]
for folder, expected in zip(sys.argv[3:], streams):
    for name in names:
        model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True, use_cache=False)
        assert type(model).__module__.startswith("transformers_modules"), name
        with torch.no_grad():
            torch.testing.assert_close(model.base_model(ids).last_hidden_state, expected)
    model.save_pretrained(folder + "-again")
    transformers.AutoModel.from_pretrained(folder + "-again", trust_remote_code=True)
print("same")
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A language model, and a hybrid with a label for each token."""
    folder = tmp_path_factory.mktemp("exports")
    path = ["base", "donor", "base"]
    lm = discretize(supernet("llama", "mamba"), path)
    labels = discretize(supernet("llama", "mamba", HeadSpec("tokens", VOCAB, 4)), path, num_labels=4)
    return {name: save_checkpoint(model, None, folder / name, "") for name, model in (("lm", lm), ("labels", labels))}


@pytest.mark.e2e
def test_every_class_loads_where_manticore_is_not_installed(exports: dict[str, Path], tmp_path: Path) -> None:
    ids, _ = tokens(2)
    with torch.no_grad():
        streams = [AutoModel.from_pretrained(folder)(ids).last_hidden_state for folder in exports.values()]
    torch.save((ids, streams), tmp_path / "expected.pt")
    folders = [str(folder) for folder in exports.values()]
    command = [sys.executable, "-c", WITHOUT_MANTICORE, str(tmp_path / "expected.pt"), ",".join(AUTO_MAP), *folders]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("same")


def test_the_configuration_names_the_classes_whatever_model_is_saved(exports: dict[str, Path], tmp_path: Path) -> None:
    for folder in exports.values():
        assert json.loads((folder / "config.json").read_text())["auto_map"] == AUTO_MAP
    AutoModel.from_pretrained(exports["lm"]).save_pretrained(tmp_path / "base")
    assert json.loads((tmp_path / "base" / "config.json").read_text())["auto_map"] == AUTO_MAP


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_cache": False},
        {"use_cache": True},
        {"output_hidden_states": True},
        {"torch_dtype": torch.bfloat16},
        {"dtype": "bfloat16"},
        {"return_dict": False},
        {"attn_implementation": "eager"},
        {"low_cpu_mem_usage": True},
        {"device_map": "cpu"},
        {"num_labels": 3},
    ],
    ids=str,
)
def test_arguments_of_every_model_are_taken_at_loading(exports: dict[str, Path], arguments: dict[str, Any]) -> None:
    ids, _ = tokens(2)
    for kind in (AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification):
        model = kind.from_pretrained(exports["lm"], **arguments)
        out = model(ids)
        assert isinstance(out, tuple) == (arguments == {"return_dict": False})
        logits = out[0]
        assert logits.dtype == (torch.bfloat16 if {"torch_dtype", "dtype"} & set(arguments) else torch.float32)
        if kind is AutoModelForSequenceClassification:
            assert logits.shape == (len(ids), arguments.get("num_labels", 2))
            continue
        if not isinstance(out, tuple):
            assert (out.past_key_values is not None) == bool(arguments.get("use_cache"))
            assert (out.hidden_states is not None) == ("output_hidden_states" in arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"max_position_embeddings": 128}, "max_position_embeddings of a hybrid is the smallest of its components'"),
        ({"num_hidden_layers": 2}, "num_hidden_layers=2 of a hybrid follows from its components: it is 3"),
        ({"num_attention_heads": 2}, "num_attention_heads=2 of a hybrid follows from its components: it is 4"),
    ],
)
def test_fields_that_follow_from_the_components_are_not_set(
    exports: dict[str, Path], argument: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AutoModelForCausalLM.from_pretrained(exports["lm"], **argument)


def test_a_stream_without_a_head_is_refused_in_words(exports: dict[str, Path], tmp_path: Path) -> None:
    AutoModel.from_pretrained(exports["lm"]).save_pretrained(tmp_path)
    with pytest.raises(ManticoreError, match="holds a HybridModel, which has no head; save the model as AutoModelFor"):
        load_hybrid(tmp_path)


def test_use_cache_of_a_call_overrides_that_of_the_configuration(exports: dict[str, Path]) -> None:
    ids, _ = tokens(2)
    model = AutoModelForCausalLM.from_pretrained(exports["lm"], use_cache=True)
    assert model(ids, use_cache=False).past_key_values is None
    assert model.generate(ids, max_new_tokens=2, use_cache=False).shape == (2, ids.shape[1] + 2)
    model.config.use_cache = False  # as trainers do
    assert model(ids).past_key_values is None
    assert model(ids, use_cache=True).past_key_values is not None


def test_what_hybrids_do_not_have_is_refused_in_words(exports: dict[str, Path]) -> None:
    ids, _ = tokens(2)
    model = AutoModelForCausalLM.from_pretrained(exports["lm"], output_attentions=True)
    with pytest.raises(ValueError, match="a hybrid does not support output_attentions"):
        model(ids)
    for call in (
        lambda: model.generate_batch([[3, 4, 5]]),
        model.init_continuous_batching,
        model.continuous_batching_context_manager,
    ):
        with pytest.raises(ValueError, match="a hybrid has no continuous batching"):
            call()
    for implementation in ("flash_attention_2", "flex_attention"):
        with pytest.raises(ValueError, match="does not support"):
            AutoModelForCausalLM.from_pretrained(exports["lm"], attn_implementation=implementation)
