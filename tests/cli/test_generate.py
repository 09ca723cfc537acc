"""`manticore generate`: what it says is what the model says, and what cannot be is one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from manticore.config.generate import SamplingOptions
from manticore.export.load import load_hybrid
from manticore.pipelines.generate import encode_prompt, run
from tests.helpers import text_hybrids
from tests.helpers.cli import call, refusal
from tests.helpers.text_hybrids import LENGTH, WORDS, exported
from tests.helpers.tokenizers import tokenizer

pytestmark = pytest.mark.e2e

PROMPT = "It is a truth"


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("hybrids") / "speaking")


def likeliest(folder: Path, count: int) -> list[int]:
    """The likeliest tokens, one by one, without a cache."""
    model = load_hybrid(folder)
    ids = encode_prompt(PROMPT, tokenizer(WORDS))
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    assert text_hybrids.words().eos_token_id not in ids[0, start:], "generation would end there"
    return ids[0, start:].tolist()


def by_hand(folder: Path, count: int) -> str:
    """The same as text."""
    return str(tokenizer(WORDS).decode(likeliest(folder, count)))


def test_greedy_is_the_likeliest_token_each_time(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    status, out, err = call(capsys, "generate", hybrid, "--prompt", PROMPT, "--max-new-tokens", "12")
    assert (status, out, err) == (0, by_hand(hybrid, 12) + "\n", "")


def test_what_was_saved_in_half_precision_is_read_in_float32(hybrid: Path, tmp_path: Path) -> None:
    whole = load_hybrid(hybrid).state_dict()
    load_hybrid(hybrid).half().save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").popitem()[1].dtype == torch.float16
    held = load_hybrid(tmp_path).state_dict()
    assert all(torch.equal(held[name], value.half().float()) for name, value in whole.items())
    assert {value.dtype for value in held.values()} == {torch.float32}


def test_text_comes_piece_by_piece(hybrid: Path) -> None:
    pieces: list[str] = []
    run(str(hybrid), PROMPT, SamplingOptions(max_new_tokens=40, temperature=3.0), pieces.append)
    assert len([piece for piece in pieces if piece]) > 1
    model, words = load_hybrid(hybrid), tokenizer(WORDS)
    prompt = encode_prompt(PROMPT, words)
    torch.manual_seed(0)
    end = text_hybrids.words().eos_token_id  # may be drawn
    settings = {"do_sample": True, "temperature": 3.0, "top_k": 0, "pad_token_id": 0, "eos_token_id": end}
    out = model.generate(input_ids=prompt, max_new_tokens=40, **settings)[0, prompt.shape[1] :]
    assert "".join(pieces) == words.decode(out[out != end])


def test_draws_follow_the_seed(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    words = ("generate", hybrid, "--prompt", PROMPT, "--max-new-tokens", "12", "--temperature", "1.5", "--top-k", "50")
    texts = [call(capsys, *words, "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    narrow = call(capsys, *words[:-2], "--top-p", "0.0001", "--seed", "4")[1]
    assert narrow == by_hand(hybrid, 12) + "\n"


def test_beams_find_nothing_less_likely(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    status, out, err = call(capsys, "generate", hybrid, "--prompt", PROMPT, "--max-new-tokens", "8", "--num-beams", "4")
    assert (status, err) == (0, "")
    model, words = load_hybrid(hybrid), tokenizer(WORDS)
    prompt = encode_prompt(PROMPT, words)
    beams = model.generate(input_ids=prompt, max_new_tokens=8, num_beams=4, do_sample=False, pad_token_id=0)
    assert out == words.decode(beams[0, prompt.shape[1] :]) + "\n"


def test_a_prompt_from_a_file(capsys: pytest.CaptureFixture[str], hybrid: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text(PROMPT, encoding="utf-8")
    words = ("generate", hybrid, "--prompt-file", tmp_path / "prompt.txt", "--max-new-tokens", "5")
    assert call(capsys, *words)[1] == by_hand(hybrid, 5) + "\n"


def test_a_component_goes_on_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=336, n_embd=16, n_layer=2, n_head=2, n_positions=64))
    model.save_pretrained(tmp_path / "own")
    tokenizer(WORDS).save_pretrained(tmp_path / "own")
    status, out, err = call(capsys, "generate", tmp_path / "own", "--prompt", PROMPT, "--max-new-tokens", "5")
    assert (status, err) == (0, "")
    assert out.strip("\n")


def test_exactly_as_many_tokens_as_there_are_positions(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    room = LENGTH - encode_prompt(PROMPT, tokenizer(WORDS)).shape[1]
    words = ("generate", hybrid, "--prompt", PROMPT, "--max-new-tokens")
    assert call(capsys, *words, room)[1] == by_hand(hybrid, room) + "\n"
    told = refusal(capsys, *words, room + 1)
    assert f"exceeds the context length of 'gpt2' ({LENGTH}); shorten the prompt (" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{hybrid}"], "give one of --prompt TEXT and --prompt-file FILE"),
        (["{hybrid}", "--prompt", "a", "--prompt-file", "b"], "give one of --prompt TEXT and --prompt-file FILE"),
        (["{hybrid}", "--prompt", ""], "the prompt is empty"),
        (["{hybrid}", "--prompt-file", "{out}/nowhere.txt"], "nowhere.txt: No such file"),
        (["{hybrid}", "--prompt-file", "{out}/bytes.bin"], "bytes.bin: not UTF-8 text (byte 0 cannot be read)"),
        (["{hybrid}", "--prompt-file", "{out}/marks.txt"], "the prompt is empty"),
        (["{hybrid}", "--prompt", "caf\udcff"], "the prompt contains \\udcff, which is no character"),
        (["{hybrid}", "--prompt", "a", "--temperature", "1e-45"], "must be a number of at least 0.0001, got 1e-45"),
        (["{hybrid}", "--prompt", "a", "--seed", "9" * 23], "--seed: must be a whole number of at least 0 and at most"),
        (["{hybrid}", "--prompt", "word " * 80], "exceeds the context length of 'gpt2' (64); shorten the prompt"),
        (["{hybrid}", "--prompt", "a", "--top-p", "2"], "--top-p: must be a number above 0 and at most 1, got 2.0"),
        (["{hybrid}", "--prompt", "a", "--temperature", "0"], "must be a number of at least 0.0001, got 0.0"),
        (["{hybrid}", "--prompt", "a", "--max-new-tokens", "0"], "--max-new-tokens: must be a whole number"),
        (["{out}", "--prompt", "a"], "holds no hybrid and no other model: there is no config.json"),
        (["{out}/nowhere", "--prompt", "a"], "no such model folder"),
        (["gpt-nea", "--prompt", "a"], "unknown model 'gpt-nea'. Did you mean 'gpt-neo'?"),
        (["{wordless}", "--prompt", "a"], "has no tokenizer: text cannot be read without one"),
        (["{labels}", "--prompt", "a"], "is no language model: it predicts labels (head 'classification')"),
        (["{small}", "--prompt", "a"], "has 320 embedding rows, fewer than the 330 tokens of the tokenizer"),
    ],
)
def test_what_cannot_be(
    capsys: pytest.CaptureFixture[str],
    hybrid: Path,
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    message: str,
) -> None:
    out = tmp_path_factory.mktemp("others")
    (out / "bytes.bin").write_bytes(b"\xff\xfe\xff")
    (out / "marks.txt").write_bytes(b"\xef\xbb\xbf")
    places = {"hybrid": hybrid, "out": out}
    if words[0] == "{wordless}":
        places["wordless"] = exported(out / "wordless", with_words=False)
    if words[0] == "{labels}":
        places["labels"] = exported(out / "labels", kind="classification")
    if words[0] == "{small}":
        places["small"] = exported(out / "small", rows=320)
    assert message in refusal(capsys, "generate", *(word.format(**places) for word in words))


STRANGER = """
import json, sys
sys.modules["manticore"] = None  # importing it is an error from here on
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
words = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
words.pad_token = words.convert_ids_to_tokens(0)
texts = [sys.argv[2], "A long prompt beside it, of many more tokens"]
batch = words(texts, padding=True, padding_side="left", return_tensors="pt")
start = batch["input_ids"].shape[1]
for more in ({}, {"do_sample": True, "top_k": 1}, {"prefill_chunk_size": 5}, {"num_beams": 2}):
    ids = model.generate(**batch, max_new_tokens=8, pad_token_id=0, **more)[0, start:].tolist()
    print(json.dumps([ids, words.decode(ids)]))
"""


def test_where_manticore_cannot_be_imported(hybrid: Path, tmp_path: Path) -> None:
    """One row of a padded batch, cached, is the prompt alone here: in our kernels, without a cache."""
    place = shutil.copytree(hybrid, tmp_path / "hybrid")
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(place), PROMPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    greedy = likeliest(hybrid, 8)
    model, words = load_hybrid(hybrid), tokenizer(WORDS)
    prompt = encode_prompt(PROMPT, words)
    settings = {"num_beams": 2, "do_sample": False, "use_cache": False, "pad_token_id": 0}
    beams = model.generate(input_ids=prompt, max_new_tokens=8, **settings)[0, prompt.shape[1] :].tolist()
    assert beams != greedy
    want = [[ids, words.decode(ids)] for ids in (greedy, greedy, greedy, beams)]
    assert [json.loads(line) for line in done.stdout.splitlines()] == want
