"""Mutations of valid inputs: of any bytes, and of the values in JSON, YAML, tables, arrays, images and commands."""

from __future__ import annotations

import ast
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

NESTED: Any = None
for _ in range(300):
    NESTED = [NESTED]

VALUES: tuple[Any, ...] = (
    *(None, True, False, "", " ", 0, -1, 1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, -1e-300),
    *(float("nan"), float("inf"), float("-inf"), "x" * 10_000, "nan", "1e400", "0x10", "é\u2028", "\0", "\ud800"),
    *("../../../../etc/passwd", "/etc/passwd", "/dev/zero", "/nowhere/at/all", "..", ".", "~", "{}", "[", "%s", "*"),
    *("trap", "trap:Trap", "trap.Trap", "os.system", "os:system", "trap--trap.Trap", "--help", "-1"),
    *([], {}, [[]], {"": None}, ["gpt-neo", "mamba"], {"auto_map": {"AutoConfig": "trap.Trap"}}, [0] * 2_000, NESTED),
)
"""Values that take the place of others, or stand beside them."""

BYTES: tuple[bytes, ...] = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\r", b"\n", b"\t", b'"', b"{", b"]" * 50, b"[" * 5_000),
    *(b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"PK\x03\x04", b"NaN", b"-", b"1" * 5_000, b"x" * 100_000),
    *(b"!!python/object/apply:os.system ['touch marker']", b"&a [*a, *a]", b"<<: 1", b"cos\nsystem\n(S'true'\ntR."),
)
"""Bytes that are inserted."""

NUMBERS = (0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
"""Numbers of 8 bytes, little-endian, that overwrite others."""


@dataclass(frozen=True)
class Mutation:
    """One change of an input.

    Attributes:
        of_values: whether a value of the content is changed, rather than any bytes.
        at: where, modulo the number of positions.
        how: which change and which new value, modulo their number.
    """

    of_values: bool
    at: int
    how: int


def mutated(name: str, content: bytes, mutation: Mutation) -> bytes:
    """The content of the file `name` after a mutation; of its bytes if it is not of its format any more."""
    change = next((change for suffix, change in FORMATS.items() if name.endswith(suffix)), None)
    if mutation.of_values and change is not None:
        try:
            return change(content, mutation)
        except Exception:  # damaged by an earlier mutation
            pass
    return mutated_bytes(content, mutation)


def mutated_bytes(content: bytes, mutation: Mutation) -> bytes:
    """Flip, cut, insert, delete, repeat or overwrite bytes."""
    at, how = mutation.at % (len(content) + 1), mutation.how // 8
    head, tail = content[:at], content[at:]
    size = 1 + how % 64
    match mutation.how % 8:
        case 0:
            return head
        case 1:
            return head + bytes([tail[0] ^ (1 << how % 8)]) + tail[1:] if tail else b""
        case 2 | 3:
            return head + BYTES[how % len(BYTES)] + tail
        case 4:
            return head + tail[size:]
        case 5:
            return head + tail[:size] * (2 + how % 300) + tail[size:]
        case 6:
            at -= at % 8
            return content[:at] + struct.pack("<Q", NUMBERS[how % len(NUMBERS)]) + content[at + 8 :]
        case _:
            return tail


def mutated_value(value: Any, mutation: Mutation) -> Any:
    """A tree of mappings and lists with one entry replaced, removed, renamed or doubled."""
    places = [(parent, key) for parent, key in _places(value)]
    if not places:
        return VALUES[mutation.how % len(VALUES)]
    parent, key = places[mutation.at % len(places)]
    other, new = mutation.how // 8, VALUES[mutation.how // 8 % len(VALUES)]
    match mutation.how % 8:
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[str(new)[:50]] = parent.pop(key)
        case 1 | 2:
            neighbour, its_key = places[other % len(places)]
            parent[key] = json.loads(json.dumps(neighbour[its_key]))
        case 3 if isinstance(parent, dict):
            parent[f"{key}x"] = parent[key]
        case 3:
            parent.insert(key, new)
        case 4 if isinstance(parent[key], int | float):
            parent[key] = (-parent[key], parent[key] + 1, parent[key] * 1_000, parent[key] / 3)[other % 4]
        case _:
            parent[key] = new
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, left = [], [value]
    while left:
        node = left.pop()
        keys: Any = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in list(keys)[:200]:
            found.append((node, key))
            left.append(node[key])
    return found


def _json(content: bytes, mutation: Mutation) -> bytes:
    return json.dumps(mutated_value(json.loads(content), mutation)).encode()


def _yaml(content: bytes, mutation: Mutation) -> bytes:
    return yaml.dump(mutated_value(yaml.safe_load(content), mutation), Dumper=_Dumper, sort_keys=False).encode()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _lines(content: bytes, mutation: Mutation) -> bytes:
    """A value of one record of a .jsonl file."""
    lines = content.splitlines()
    at = mutation.how % len(lines)
    lines[at] = _json(lines[at], mutation)
    return b"\n".join(lines) + b"\n"


def _cells(content: bytes, mutation: Mutation) -> bytes:
    """A cell of a table with tabs or commas."""
    mark = b"\t" if b"\t" in content else b"," if b"," in content else b" "
    rows: Any = [[cell.decode() for cell in line.split(mark)] for line in content.splitlines()]
    rows = mutated_value(rows, mutation)
    return b"\n".join(mark.join(_text(cell) for cell in row) for row in rows)


def _text(value: Any) -> bytes:
    return (value if isinstance(value, str) else str(value)).encode("utf-8", "surrogatepass")


def _safetensors(content: bytes, mutation: Mutation) -> bytes:
    """A value of the header of a safetensors file."""
    size = struct.unpack("<Q", content[:8])[0]
    header = _json(content[8 : 8 + size], mutation)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _npy(content: bytes, mutation: Mutation) -> bytes:
    """A value of the header of an array: type, order or shape; the rest stays."""
    size = struct.unpack("<H", content[8:10])[0]
    header = ast.literal_eval(content[10 : 10 + size].decode())
    shapes: tuple[Any, ...] = ((), (10**15, 6), (2**62, 2**62), (-1, 6), (1,), (0, 6), "x", (10**9,) * 9)
    types = ("|O", "<f8", "<U4000000", "|V1", "<i1", "x", [("a", "<i8")], ">i8", "<M8[s]")
    key = ("shape", "descr", "fortran_order")[mutation.at % 3]
    options: tuple[Any, ...] = {"shape": shapes, "descr": types, "fortran_order": (True, 3, None)}[key]
    header[key] = options[mutation.how % len(options)]
    text = repr(header).encode() + b"\n"
    return content[:8] + struct.pack("<H", len(text)) + text + content[10 + size :]


def _png(content: bytes, mutation: Mutation) -> bytes:
    """Size, depth or color of an image, with the right checksum; an array if the metadata are text."""
    if not content.startswith(b"\x89PNG"):
        return _cells(content, mutation)
    header = list(struct.unpack(">IIBBBBB", content[16:29]))
    at = mutation.at % len(header)
    header[at] = (0, 1, 3, 16, 255, 9_000, 60_000, 2**31 - 1)[mutation.how % (8 if at < 2 else 5)]
    chunk = b"IHDR" + struct.pack(">IIBBBBB", *header)
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


def _parquet(content: bytes, mutation: Mutation) -> bytes:
    """A table with other values, types or columns."""
    import pyarrow
    import pyarrow.parquet

    texts = pyarrow.parquet.read_table(io.BytesIO(content)).column(0).to_pylist()
    columns: tuple[Any, ...] = (
        *([None] * len(texts), [1] * len(texts), [text.encode() for text in texts], [[text] for text in texts]),
        *([{"text": text} for text in texts], [b"\xff\xfe"] * len(texts), [""] * len(texts), [], texts[:1] * 20_000),
        *([*texts, None], [True] * len(texts), ["\0"] * len(texts), pyarrow.array(texts).dictionary_encode()),
    )
    column = columns[mutation.how % len(columns)]
    name = ("text", "content", "document", "other", "", "te\0xt")[mutation.at % 6]
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({name: column}), out)
    return out.getvalue()


FORMATS: dict[str, Callable[[bytes, Mutation], bytes]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".jsonl": _lines,
    ".tsv": _cells,
    ".csv": _cells,
    ".safetensors": _safetensors,
    "metadata/0.npy": _cells,
    ".npy": _npy,
    ".png": _png,
    ".parquet": _parquet,
}
"""Changes of values by the end of a file's name; the first that fits."""


def mutated_command(words: list[str], mutation: Mutation) -> list[str]:
    """A command line with one word replaced, removed, doubled, exchanged or added."""
    words, at = list(words), mutation.at % (len(words) + 1)
    value = VALUES[mutation.how // 6 % len(VALUES)]
    new = (value if isinstance(value, str) else json.dumps(value)).replace("\0", "?")
    new = new.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if "\ud800" not in new else "\udcff"
    match mutation.how % 6:
        case 0:
            del words[at : at + 1]
        case 1:
            words[at:at] = words[at : at + 2] or [new]
        case 2:
            words[at:at] = [new]
        case 3 if at < len(words) and "=" in words[at]:
            words[at] = f"{words[at].partition('=')[0]}={new}"
        case 4 if at < len(words):
            words[at] = words[at][: mutation.how // 6 % (len(words[at]) + 1)] + "x"
        case _:
            words[at : at + 1] = [new]
    return words
