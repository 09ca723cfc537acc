"""`manticore generate`: its text is that of the model, and errors are one line."""

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
from tests.helpers.text_hybrids import LENGTH, TOKENIZER, export_hybrid
from tests.helpers.tokenizers import tokenizer

pytestmark = pytest.mark.e2e

PROMPT = "It is a truth"


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_hybrid(tmp_path_factory.mktemp("hybrids") / "hybrid")


def greedy_ids(folder: Path, count: int) -> list[int]:
    """The most likely tokens, one by one, without a cache."""
    model = load_hybrid(folder)
    ids = encode_prompt(PROMPT, tokenizer(TOKENIZER))
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    assert text_hybrids.hybrid_tokenizer().eos_token_id not in ids[0, start:], "generation would end there"
    return ids[0, start:].tolist()


def greedy_text(folder: Path, count: int) -> str:
    """`greedy_ids` as text."""
    return str(tokenizer(TOKENIZER).decode(greedy_ids(folder, count)))


def test_the_default_is_greedy(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    status, out, err = call(capsys, "generate", hybrid, "--prompt", PROMPT, "--max-new-tokens", "12")
    assert (status, out, err) == (0, greedy_text(hybrid, 12) + "\n", "")


def test_half_precision_is_loaded_as_float32(hybrid: Path, tmp_path: Path) -> None:
    full = load_hybrid(hybrid).state_dict()
    load_hybrid(hybrid).half().save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").popitem()[1].dtype == torch.float16
    half = load_hybrid(tmp_path).state_dict()
    assert all(torch.equal(half[name], value.half().float()) for name, value in full.items())
    assert {value.dtype for value in half.values()} == {torch.float32}


def test_text_is_streamed(hybrid: Path) -> None:
    pieces: list[str] = []
    run(str(hybrid), PROMPT, SamplingOptions(max_new_tokens=40, temperature=3.0), pieces.append)
    assert len([piece for piece in pieces if piece]) > 1
    model, reader = load_hybrid(hybrid), tokenizer(TOKENIZER)
    prompt = encode_prompt(PROMPT, reader)
    torch.manual_seed(0)
    end = text_hybrids.hybrid_tokenizer().eos_token_id  # may be sampled
    settings = {"do_sample": True, "temperature": 3.0, "top_k": 0, "pad_token_id": 0, "eos_token_id": end}
    out = model.generate(input_ids=prompt, max_new_tokens=40, **settings)[0, prompt.shape[1] :]
    assert "".join(pieces) == reader.decode(out[out != end])


def test_sampling_depends_on_the_seed(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    arguments = (
        "generate",
        hybrid,
        "--prompt",
        PROMPT,
        "--max-new-tokens",
        "12",
        "--temperature",
        "1.5",
        "--top-k",
        "50",
    )
    texts = [call(capsys, *arguments, "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    narrow = call(capsys, *arguments[:-2], "--top-p", "0.0001", "--seed", "4")[1]
    assert narrow == greedy_text(hybrid, 12) + "\n"


def test_beam_search(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    status, out, err = call(capsys, "generate", hybrid, "--prompt", PROMPT, "--max-new-tokens", "8", "--num-beams", "4")
    assert (status, err) == (0, "")
    model, reader = load_hybrid(hybrid), tokenizer(TOKENIZER)
    prompt = encode_prompt(PROMPT, reader)
    beams = model.generate(input_ids=prompt, max_new_tokens=8, num_beams=4, do_sample=False, pad_token_id=0)
    assert out == reader.decode(beams[0, prompt.shape[1] :]) + "\n"


def test_a_prompt_from_a_file(capsys: pytest.CaptureFixture[str], hybrid: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text(PROMPT, encoding="utf-8")
    arguments = ("generate", hybrid, "--prompt-file", tmp_path / "prompt.txt", "--max-new-tokens", "5")
    assert call(capsys, *arguments)[1] == greedy_text(hybrid, 5) + "\n"


def test_a_component_can_generate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=336, n_embd=16, n_layer=2, n_head=2, n_positions=64))
    model.save_pretrained(tmp_path / "own")
    tokenizer(TOKENIZER).save_pretrained(tmp_path / "own")
    status, out, err = call(capsys, "generate", tmp_path / "own", "--prompt", PROMPT, "--max-new-tokens", "5")
    assert (status, err) == (0, "")
    assert out.strip("\n")


def test_the_context_length_can_be_used_up(capsys: pytest.CaptureFixture[str], hybrid: Path) -> None:
    room = LENGTH - encode_prompt(PROMPT, tokenizer(TOKENIZER)).shape[1]
    arguments = ("generate", hybrid, "--prompt", PROMPT, "--max-new-tokens")
    assert call(capsys, *arguments, room)[1] == greedy_text(hybrid, room) + "\n"
    message = refusal(capsys, *arguments, room + 1)
    assert f"exceeds the context length of 'gpt2' ({LENGTH}); shorten the prompt (" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{hybrid}"], "give one of --prompt TEXT, --prompt-file FILE and"),
        (["{hybrid}", "--prompt", "a", "--prompt-file", "b"], "give one of --prompt TEXT, --prompt-file FILE and"),
        (["{hybrid}", "--prompt", ""], "the prompt is empty"),
        (["{hybrid}", "--prompt-file", "{out}/nowhere.txt"], "nowhere.txt: cannot be read (No such file"),
        (["{hybrid}", "--prompt-file", "{out}/bytes.bin"], "bytes.bin: not UTF-8 text (byte 0 cannot be read)"),
        (["{hybrid}", "--prompt-file", "{out}/marks.txt"], "the prompt is empty"),
        (["{hybrid}", "--prompt", "caf\udcff"], "the prompt contains \\udcff, which is no character"),
        (["{hybrid}", "--prompt", "a", "--temperature", "1e-45"], "must be a number of at least 0.0001, got 1e-45"),
        (["{hybrid}", "--prompt", "a", "--seed", "9" * 23], "--seed: must be a whole number of at least 0 and at most"),
        (["{hybrid}", "--prompt", "word " * 80], "exceeds the context length of 'gpt2' (64); shorten the prompt"),
        (["{hybrid}", "--prompt", "a", "--top-p", "2"], "--top-p: must be a number above 0 and at most 1, got 2.0"),
        (["{hybrid}", "--prompt", "a", "--temperature", "0"], "must be a number of at least 0.0001, got 0.0"),
        (["{hybrid}", "--prompt", "a", "--max-new-tokens", "0"], "--max-new-tokens: must be a whole number"),
        (["{out}", "--prompt", "a"], "holds no model: there is no config.json"),
        (["{out}/nowhere", "--prompt", "a"], "no such folder"),
        (["gpt-nea", "--prompt", "a"], "unknown model 'gpt-nea'. Did you mean 'gpt-neo'?"),
        (["{no_tokenizer}", "--prompt", "a"], "has no tokenizer: text cannot be read without one"),
        (["{labels}", "--prompt", "a"], "is no language model: it predicts labels (head 'classification')"),
        (["{small}", "--prompt", "a"], "has 320 embedding rows, fewer than the 330 tokens of the tokenizer"),
    ],
)
def test_invalid_use_is_one_line(
    capsys: pytest.CaptureFixture[str],
    hybrid: Path,
    tmp_path_factory: pytest.TempPathFactory,
    arguments: list[str],
    message: str,
) -> None:
    out = tmp_path_factory.mktemp("folders")
    (out / "bytes.bin").write_bytes(b"\xff\xff\xff")
    (out / "marks.txt").write_bytes(b"\xef\xbb\xbf")
    paths = {"hybrid": hybrid, "out": out}
    if arguments[0] == "{no_tokenizer}":
        paths["no_tokenizer"] = export_hybrid(out / "no_tokenizer", with_tokenizer=False)
    if arguments[0] == "{labels}":
        paths["labels"] = export_hybrid(out / "labels", kind="classification")
    if arguments[0] == "{small}":
        paths["small"] = export_hybrid(out / "small", rows=320)
    assert message in refusal(capsys, "generate", *(argument.format(**paths) for argument in arguments))


WITHOUT_MANTICORE = """
import json, sys
sys.modules["manticore"] = None  # importing it is an error from here on
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
texts = [sys.argv[2], "A long prompt beside it, of many more tokens"]
batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
start = batch["input_ids"].shape[1]
for more in ({}, {"do_sample": True, "top_k": 1}, {"prefill_chunk_size": 5}, {"num_beams": 2}):
    ids = model.generate(**batch, max_new_tokens=8, pad_token_id=0, **more)[0, start:].tolist()
    print(json.dumps([ids, tokenizer.decode(ids)]))
"""


def test_a_checkpoint_generates_the_same_without_manticore(hybrid: Path, tmp_path: Path) -> None:
    """A row of a padded batch, with a cache, gives the same tokens as the prompt alone in our kernels, without one."""
    folder = shutil.copytree(hybrid, tmp_path / "hybrid")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MANTICORE, str(folder), PROMPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    greedy = greedy_ids(hybrid, 8)
    model, reader = load_hybrid(hybrid), tokenizer(TOKENIZER)
    prompt = encode_prompt(PROMPT, reader)
    settings = {"num_beams": 2, "do_sample": False, "use_cache": False, "pad_token_id": 0}
    beams = model.generate(input_ids=prompt, max_new_tokens=8, **settings)[0, prompt.shape[1] :].tolist()
    assert beams != greedy
    expected = [[ids, reader.decode(ids)] for ids in (greedy, greedy, greedy, beams)]
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


def test_a_batch_is_continued_prompt_by_prompt(
    capsys: pytest.CaptureFixture[str], hybrid: Path, tmp_path: Path
) -> None:
    prompts = [PROMPT, "The surrounding families", PROMPT]
    plain, records = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    plain.write_text("\n\n".join(prompts) + "\n", encoding="utf-8")
    records.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    status, out, err = call(capsys, "generate", hybrid, "--batch", plain, "--json", "--max-new-tokens", "12")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["prompt"] for line in lines] == prompts
    assert lines[0] == lines[2]
    assert lines[0] == {
        "prompt": PROMPT,
        "text": greedy_text(hybrid, 12),
        "prompt_tokens": encode_prompt(PROMPT, tokenizer(TOKENIZER)).shape[1],
        "new_tokens": 12,
        "ended": False,
    }
    assert call(capsys, "generate", hybrid, "--batch", records, "--json", "--max-new-tokens", "12")[1] == out
    without = call(capsys, "generate", hybrid, "--batch", plain, "--max-new-tokens", "12")[1]
    assert without.splitlines()[0] == lines[0]["text"].replace("\\", "\\\\").replace("\n", "\\n")
    assert without.count("\n") == len(prompts)


def test_sampling_of_a_prompt_does_not_depend_on_the_prompts_before_it(
    capsys: pytest.CaptureFixture[str], hybrid: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(f"The family\n{PROMPT}\n", encoding="utf-8")
    flags = ("--json", "--max-new-tokens", "8", "--temperature", "1.0", "--seed", "3")
    together = call(capsys, "generate", hybrid, "--batch", file, *flags)[1].splitlines()[1]
    assert call(capsys, "generate", hybrid, "--prompt", PROMPT, *flags)[1] == f"{together}\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "It is"}\n{"question": 3}\n', "a.jsonl:2: a record has a text in the field prompt or"),
        ("a.jsonl", "{\n", "a.jsonl:1: "),
        ("a.txt", f"It is\n{'a truth ' * 100}\n", "a.txt, prompt 2: "),
        ("a.txt", " \n\n", "a.txt: there is no prompt in it"),
    ],
)
def test_a_bad_prompt_of_a_batch_is_named(
    capsys: pytest.CaptureFixture[str], hybrid: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    status, _, err = call(capsys, "generate", hybrid, "--batch", file, "--json", "--max-new-tokens", "2")
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert "give one of" in refusal(capsys, "generate", hybrid, "--batch", file, "--prompt", "It")
