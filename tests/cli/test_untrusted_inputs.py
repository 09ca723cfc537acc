"""Inputs that once ended in a traceback, or could need absurd memory or leave their folder: one line, status 2."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manticore.errors import BadFile, ManticoreError
from manticore.experiment.path_search import _read_losses
from manticore.nas.architecture import Architecture
from manticore.report.run.reading import read_run
from manticore.results.codec import decode
from manticore.results.search import SplitScore
from manticore.tasks.cache import cached_arrays
from manticore.tasks.data_files import ALWAYS_EXPANDED, open_data, read_bytes
from manticore.tasks.language.documents import read_documents
from manticore.tasks.lra.pathfinder.files import list_images, read_images
from manticore.tasks.mad.files import _load
from manticore.training.callbacks import _step
from manticore.utils.arrays import read_arrays
from manticore.utils.memory import reset_resident_peak, resident_bytes
from tests.helpers.cli import PICO, refusal
from tests.helpers.text_hybrids import export_hybrid

Change = Callable[[Path], object]

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid of pico size."""
    return export_hybrid(tmp_path_factory.mktemp("sound") / "hybrid")


def with_json(name: str, **entries: Any) -> Change:
    """Add entries to a JSON file of a folder, which may not exist yet."""

    def change(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**content, **entries}))

    return change


def with_link(name: str, to: str) -> Change:
    return lambda folder: (folder / name).symlink_to(to)


def with_shard_outside(shard: str) -> Change:
    """The weights outside of the folder, with an index that names them."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename((folder / shard).resolve())
        with_json("model.safetensors.index.json", metadata={}, weight_map={"lm_head.weight": shard})(folder)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_shard_outside("../other.safetensors"), "names '../other.safetensors', which is no safetensors file of"),
        (with_shard_outside("model.bin"), "names 'model.bin', which is no safetensors file of"),
        (with_json("model.safetensors.index.json", weight_map=[1]), "not an index of weights"),
        (with_link("README.txt", "/etc/hostname"), "a link that leads out of the folder of the model"),
        (
            with_json("tokenizer_config.json", fast_tokenizer_files=["../../tokenizer.1.json"]),
            "names '../../tokenizer.1.json', which is no file of this folder",
        ),
        (with_json("config.json", num_hidden_layers=1 << 31), "num_hidden_layers must be a whole number of at most"),
        (with_json("config.json", vocab_size=1 << 34), "stored numbers, and"),
    ],
    ids=["index", "pickled shard", "damaged index", "link", "tokenizer files", "layers", "vocabulary"],
)
def test_a_folder_that_leads_elsewhere_or_is_absurdly_large_is_refused(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path, change: Change, message: str
) -> None:
    copy = Path(shutil.copytree(sound, tmp_path / "hybrid"))
    change(copy)
    error = refusal(capsys, "generate", copy, "--prompt", "It is")
    assert message in error
    assert str(copy) in error


@pytest.mark.parametrize("key", ["space.stages", "scratch.attention.layers"])
def test_an_absurd_number_of_layers_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, key: str
) -> None:
    error = refusal(capsys, "search", *PICO, "--set", f"{key}=2147483648", "--out", tmp_path / "out")
    assert f"{key.rpartition('.')[2]} must be a whole number of at most 10,000, got 2,147,483,648" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_json("config.json", output_attentions=True), "a hybrid has no output_attentions"),
        (with_json("generation_config.json", output_attentions=True), "settings in its folder, output_attentions"),
        (with_json("generation_config.json", repetition_penalty=-2), "settings in its folder, repetition_penalty"),
        (with_json("generation_config.json", eos_token_id=["0"]), "must be token ids, got ['0', "),
        (with_json("tokenizer_config.json", model_max_length="64"), "a tokenizer that cannot encode text"),
    ],
    ids=["config", "generation", "penalty", "ids", "tokenizer"],
)
def test_settings_that_a_model_cannot_generate_with_are_named(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path, change: Change, message: str
) -> None:
    copy = Path(shutil.copytree(sound, tmp_path / "hybrid"))
    change(copy)
    assert message in refusal(capsys, "generate", copy, "--prompt", "It is", "--max-new-tokens", "2")


def test_links_into_the_cache_of_the_hub_are_followed(sound: Path, tmp_path: Path) -> None:
    from manticore.components.folder_checks import check_model_folder

    folder, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    shutil.copytree(sound, folder)
    blobs.mkdir()
    (folder / "config.json").rename(blobs / "1")
    (folder / "config.json").symlink_to("../../blobs/1")
    check_model_folder(folder)


def test_a_tokenizer_with_code_of_its_own_asks_nothing(sound: Path, tmp_path: Path) -> None:
    from manticore.components.tokenizers import read_tokenizer

    copy = Path(shutil.copytree(sound, tmp_path / "hybrid"))
    entries = {"auto_map": {"AutoTokenizer": ["trap.Trap", "trap.Trap"]}, "tokenizer_class": "Trap"}
    with_json("tokenizer_config.json", **entries)(copy)
    (copy / "trap.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    read_tokenizer(str(copy), {"local_files_only": True})
    assert not (tmp_path / "marker").exists()


def compressed(name: str, content: bytes) -> bytes:
    return gzip.compress(content, 9) if name.endswith(".gz") else lzma.compress(content)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.xz"])
def test_a_compressed_file_that_expands_absurdly_is_refused_within_bounds_of_memory(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    chunk = compressed(name, bytes(16 * MEGABYTE))
    file.write_bytes(chunk * (3 * ALWAYS_EXPANDED // (16 * MEGABYTE)))  # members of both formats may follow each other
    before = resident_bytes() or 0
    reset_resident_peak()
    for read in (read_bytes, lambda file: list(_lines(file))):
        with pytest.raises(BadFile, match="expands to more than 64 MiB, 100 times its size; decompress it"):
            read(file)
    assert (resident_bytes("VmHWM") or 0) - before < 4 * ALWAYS_EXPANDED


def _lines(file: Path) -> list[bytes]:
    with open_data(file) as stream:
        return list(stream)


def test_a_compressed_file_of_usual_text_is_read(tmp_path: Path) -> None:
    text = b"".join(b"line %d\n" % number for number in range(1_000))
    (tmp_path / "a.txt.xz").write_bytes(compressed("a.txt.xz", text))
    assert read_bytes(tmp_path / "a.txt.xz") == text
    assert b"".join(_lines(tmp_path / "a.txt.xz")) == text


def test_a_table_whose_rows_repeat_absurdly_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array(bytes(4_000_000), pyarrow.int8()), ["text " * 2_000])
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < MEGABYTE
    with pytest.raises(BadFile, match="expands to more than 64 MiB"):
        read_documents(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 6",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 6)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 6)}",
        "('x')",
    ],
    ids=["unfinished", "shape", "objects", "text"],
)
def test_a_damaged_header_of_an_array_is_refused(tmp_path: Path, header: str) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(content + np.zeros((3, 6), np.int64).tobytes())
    with pytest.raises(BadFile, match="expected a NumPy array"):
        _load(tmp_path / "a.npy")


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_an_image_is_refused_by_its_size_before_it_is_decompressed(tmp_path: Path, side: int) -> None:
    Image.new("L", (32, 32)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    chunk = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
    with pytest.raises(BadFile, match=f"expected 32x32 pixels, found {side}x{side}|expected a PNG image"):
        read_images([(tmp_path / "a.png", 0)], 32)


def test_metadata_of_images_name_no_image_outside_of_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "level"
    (folder / "metadata").mkdir(parents=True)
    Image.new("L", (32, 32)).save(tmp_path / "a.png")
    (folder / "metadata" / "0.npy").write_text(".. a.png 0 1 1 1 1 1 1 1 1\n" * 12)
    with pytest.raises(BadFile, match="names an image outside of"):
        list_images(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("alphas.jsonl", b"\xff\n", "not UTF-8 text"),
        ("alphas.jsonl", b"[]\n{}\n", "alphas.jsonl:1: not a record of mixing weights"),
        ("alphas.jsonl", b"[" * 100_000 + b"\n{}\n", "alphas.jsonl:1: not a record of mixing weights"),
        ("alphas.jsonl", b'{"step": 1' + b"0" * 400 + b"}\n{}\n", "alphas.jsonl:1: not a record of mixing weights"),
        ("recipe.yaml", b"\xff", "not UTF-8 text"),
        ("logs/csv/search/metrics.csv", b"\xff", "not UTF-8 text"),
        ("logs/csv/search/metrics.csv", b"step\n" + b"1" * 200_000, "not a table of losses"),
        ("architecture.json", b'{"format": 1, "path": ["gpt-neo"], "components": "gpt-neo"}', "not an architecture"),
    ],
    ids=["bytes", "list", "nested", "digits", "recipe", "log", "cell", "architecture"],
)
def test_a_damaged_log_of_a_run_is_named(
    pico_run: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    copy = Path(shutil.copytree(pico_run, tmp_path / "run"))
    (copy / name).write_bytes(content)
    with pytest.raises(BadFile, match=message):
        read_run(copy)


def test_mixing_weights_of_another_run_are_refused(pico_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pico_run, tmp_path / "run"))
    text = (copy / "alphas.jsonl").read_text()
    (copy / "alphas.jsonl").write_text(text.replace('"gpt-neo"', '"gpt-nea"'))
    with pytest.raises(BadFile, match=r"not of the same run as architecture.json \(candidate 'gpt-nea'\)"):
        read_run(copy)


def test_a_number_beyond_floats_is_no_result() -> None:
    record = {"value": 10**400, "margin": 0.1, "loss": 1.0, "count": 1}
    with pytest.raises(BadFile, match="value: expected a finite number"):
        decode(SplitScore, record, "metrics.json")


@pytest.mark.parametrize("line", ["[]", "{", '{"step": null}', '{"step": "x"}', '{"step": 1e999}', "[" * 100_000])
def test_a_damaged_line_of_the_alphas_is_dropped_when_a_search_resumes(line: str) -> None:
    assert _step(line) is None


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def compressed_npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros(64 * MEGABYTE, np.uint8))
    return stream.getvalue()


SOUND_NPZ = npz(x=np.arange(6).reshape(2, 3))
DAMAGED_NPZ = {
    "empty": b"",
    "no archive": b"PK" + bytes(100),
    "cut": SOUND_NPZ[: len(SOUND_NPZ) // 2],
    "flipped bit": SOUND_NPZ.replace(b"\x05\0\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\0"),
    "objects": npz(x=np.array([{}], dtype=object)),
    "absurd shape": SOUND_NPZ.replace(b"(2, 3), }          ", b"(99999999999, 3), }", 1),
    "header that is no shape": SOUND_NPZ.replace(b"(2, 3)", b"(2, x)"),
    "compressed": compressed_npz(),
}


@pytest.mark.parametrize("content", DAMAGED_NPZ.values(), ids=DAMAGED_NPZ)
def test_a_damaged_npz_is_refused_within_bounds_of_memory(tmp_path: Path, content: bytes) -> None:
    (file := tmp_path / "path-0-4.npz").write_bytes(SOUND_NPZ)
    assert read_arrays(file)["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content != SOUND_NPZ
    file.write_bytes(content)
    before = resident_bytes() or 0
    reset_resident_peak()
    with pytest.raises(BadFile, match=r"path-0-4.npz: damaged \(.*\)$") as refused:
        read_arrays(file)
    assert "\n" not in str(refused.value)
    assert (resident_bytes("VmHWM") or 0) - before < 32 * MEGABYTE
    with pytest.raises(BadFile, match=r"path-0-4.npz: damaged \(.*\); delete it to go on without it$"):
        _read_losses(file)


@pytest.mark.parametrize("content", DAMAGED_NPZ.values(), ids=DAMAGED_NPZ)
def test_damaged_data_in_the_cache_are_generated_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    def generate() -> dict[str, Any]:
        return {"x": np.arange(3)}

    cached_arrays(tmp_path, "data", {"seed": 1}, generate)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert cached_arrays(tmp_path, "data", {"seed": 1}, generate)["x"].tolist() == [0, 1, 2]
    assert f"{file}: damaged" in caplog.text
    cached = cached_arrays(tmp_path, "data", {"seed": 1}, lambda: pytest.fail("it is in the cache"))
    assert cached["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_line_of_100_megabytes_is_refused_within_bounds_of_memory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    size = 100 * MEGABYTE
    start, end = ("", "") if name == "a.txt" else ('{"text": "', '"}')
    (file := tmp_path / name).write_text(f"{start}{'x' * size}{end}")
    before = resident_bytes() or 0
    reset_resident_peak()
    arguments = ("--config", "pretrain/gpt-neo-nano", "--text", file, "--out", tmp_path / "out")
    error = refusal(capsys, "pretrain", *arguments)
    at = file if name == "a.txt" else f"{file}:1"
    assert f"{at}: a line of {size:,} characters; a text may have lines of 4,000,000; break it into lines" in error
    assert (resident_bytes("VmHWM") or 0) - before < 800 * MEGABYTE
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["components", "path", "base", "topology", "projector"])
def test_an_architecture_has_names(tmp_path: Path, key: str) -> None:
    file = tmp_path / "architecture.json"
    Architecture(("a", "b"), ("a", "b"), "a").save(file)
    with_json(file.name, **{key: [3]})(tmp_path)
    with pytest.raises(ManticoreError, match=rf"not an architecture \('{key}' is \[3\]\)"):
        Architecture.load(file)
