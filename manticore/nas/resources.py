"""What a hybrid costs, as text: names of resources with their units, and limits such as `cache_bytes=64MiB@8192`.

    parameters=120M              count; also K and B
    weight_bytes=240MB@bfloat16  bytes of the weights in a type of numbers
    cache_bytes=50%@8192         half of what the parent of a twin costs alone, or else the base
    prefill_flops=2M@2048        operations per token, all of 2,048 tokens at once
    decode_flops=2M@2048         operations of one token behind 2,048 - 1 others
    cache_bytes=64MiB@8192x4     bytes of the cache after 8,192 tokens of each of 4 sequences
    prefill_ms=40@2048           measured milliseconds of a prompt of 2,048 tokens
    decode_ms=5@2048             measured milliseconds of one token behind 2,048 - 1 others

After `@` follow the length, `x` and the batch, `:` and the type of numbers: `8192x4:bfloat16`. Without them a limit is
meant for the longest sequence of the task, one sequence, and float32. This module imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from manticore.errors import ManticoreError, UnknownName, shown

Unit = Literal["count", "bytes", "FLOPs", "ms"]

DECIMAL, BINARY = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}, {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

UNITS: dict[Unit, dict[str, float]] = {
    "count": {"": 1, "K": 1e3, "M": 1e6, "B": 1e9},
    "bytes": {
        "": 1,
        "B": 1,
        **{f"{letter.upper()}B": factor for letter, factor in DECIMAL.items()},
        **{f"{letter.title()}iB": factor for letter, factor in BINARY.items()},
    },
    "FLOPs": {"": 1, **{letter.upper(): factor for letter, factor in DECIMAL.items()}},
    "ms": {"": 1, "us": 1e-3, "ms": 1, "s": 1e3},
}
"""The units that a value may be written in, with their factors."""

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Types of numbers, with their bytes."""

LARGEST_COMPONENT = "largest_component"
"""Value of a limit: the cost of the most expensive component alone."""

PERCENT = re.compile(r"\s*([0-9][0-9_.]*(?:e[+-]?\d+)?)\s*%\s*", re.IGNORECASE)
"""Value of a limit: a share of what the reference model alone costs."""


@dataclass(frozen=True)
class ResourceKind:
    """A resource without its length, batch and type of numbers.

    Attributes:
        unit: of its values.
        summary: what it is, as a phrase.
        axes: what it depends on besides the path: `length`, `batch`, `dtype`.
    """

    unit: Unit
    summary: str
    axes: frozenset[str] = frozenset()


KINDS: dict[str, ResourceKind] = {
    "parameters": ResourceKind("count", "parameters"),
    "weight_bytes": ResourceKind("bytes", "bytes of the weights", frozenset({"dtype"})),
    "prefill_flops": ResourceKind("FLOPs", "FLOPs per token of a forward pass on all tokens", frozenset({"length"})),
    "decode_flops": ResourceKind("FLOPs", "FLOPs of the last token with a cache", frozenset({"length"})),
    "cache_bytes": ResourceKind("bytes", "bytes of the cache", frozenset({"length", "batch", "dtype"})),
    "prefill_ms": ResourceKind("ms", "milliseconds of a prompt", frozenset({"length", "batch", "dtype"})),
    "decode_ms": ResourceKind("ms", "milliseconds of the last token", frozenset({"length", "batch", "dtype"})),
}
"""All resources by name."""


@dataclass(frozen=True)
class Resource:
    """Something that a path costs. `str` writes it as it is parsed: `cache_bytes@8192x4:bfloat16`.

    Attributes:
        name: a key of `KINDS`.
        length: tokens of a sequence; None: not set, or the resource does not depend on it.
        batch: number of sequences.
        dtype: type of the numbers.
    """

    name: str
    length: int | None = None
    batch: int = 1
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> Resource:
        """A resource of text such as `cache_bytes@8192`. Raises UnknownName, or ManticoreError for a wrong `@` part."""
        name, _, qualifier = text.strip().partition("@")
        return cls.of(name, qualifier)

    @classmethod
    def of(cls, name: str, qualifier: str) -> Resource:
        """A resource of its name and the text after `@`, which may be empty. Raises as `parse` does."""
        if name not in KINDS:
            raise UnknownName("resource", name, KINDS)
        axes, resource = KINDS[name].axes, cls(name)
        if not qualifier:
            return resource
        if qualifier in DTYPE_BYTES:
            qualifier = f":{qualifier}"
        match = re.fullmatch(r"(\d+)?(?:x(\d+))?(?::(\w+))?", qualifier)
        if match is None:
            raise ManticoreError(f"{name}@{qualifier}: after @ follow the length, x and the batch, : and the type")
        length, batch, dtype = match.groups()
        for axis, part in (("length", length), ("batch", batch), ("dtype", dtype)):
            if part is not None and axis not in axes:
                of = f"; it takes {' and '.join(sorted(axes))}" if axes else ""
                raise ManticoreError(f"{name}@{qualifier}: {name} does not depend on {axis}{of}")
        if dtype is not None and dtype not in DTYPE_BYTES:
            raise UnknownName("type of numbers", dtype, DTYPE_BYTES)
        if "0" in {str(int(part)) for part in (length, batch) if part is not None}:
            raise ManticoreError(f"{name}@{qualifier}: length and batch must be at least 1")
        return cls(name, None if length is None else int(length), int(batch or 1), dtype or "float32")

    def at(self, length: int) -> Resource:
        """The same at a length, unless it has one or does not depend on it."""
        return replace(self, length=length) if self.length is None and "length" in KINDS[self.name].axes else self

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return DTYPE_BYTES[self.dtype]

    @property
    def unit(self) -> Unit:
        """The unit of values."""
        return KINDS[self.name].unit

    @property
    def qualifier(self) -> str:
        """The part after `@`, with it; empty if all of it has its default."""
        batch = f"x{self.batch}" if self.batch > 1 else ""
        dtype = "" if self.dtype == "float32" else f":{self.dtype}" if self.length or batch else self.dtype
        text = f"{self.length or ''}{batch}{dtype}"
        return f"@{text}" if text else ""

    def __str__(self) -> str:
        return f"{self.name}{self.qualifier}"

    def number(self, value: float) -> str:
        """A value without its unit, exact for whole numbers: `1,234,567`."""
        return f"{value:,.0f}" if self.unit != "ms" else f"{value:.3g}"

    def format(self, value: float) -> str:
        """A value with its unit: `1,234,567`, `65,536 bytes`, `4.21 ms`."""
        return self.number(value) if self.unit == "count" else f"{self.number(value)} {self.unit}"


@dataclass(frozen=True)
class Limit:
    """A bound of what a path may cost.

    Attributes:
        resource: what is bounded.
        value: the bound in the resource's unit; `LARGEST_COMPONENT` or a text such as `50%` until it is computed.
        text: as the user wrote it.
    """

    resource: Resource
    value: float | str
    text: str

    @property
    def share(self) -> float | None:
        """The share of the reference's cost, above 0, that a value such as `50%` stands for; None for other values."""
        match = PERCENT.fullmatch(self.value) if isinstance(self.value, str) else None
        return None if match is None else float(match[1]) / 100

    @classmethod
    def parse(cls, text: str) -> Limit:
        """A limit of text such as `cache_bytes=64MiB@8192`.

        Raises UnknownName for a resource or a unit that does not exist, ManticoreError for anything else.
        """
        name, equals, right = text.strip().partition("=")
        if not equals:
            raise ManticoreError(f"a limit is a resource and a value, such as parameters=120M, not {shown(text)}")
        if "@" in name:
            bare = name.partition("@")
            raise ManticoreError(f"{text}: the length follows the value: {bare[0]}={right}@{bare[2]}")
        value, _, qualifier = right.partition("@")
        resource = Resource.of(name, qualifier)
        if value == LARGEST_COMPONENT:
            return cls(resource, LARGEST_COMPONENT, text.strip())
        if (match := PERCENT.fullmatch(value)) is not None:
            parse_value(match[1], resource)  # raises for what is no number above 0
            return cls(resource, value.strip(), text.strip())
        return cls(resource, parse_value(value, resource), text.strip())


def parse_value(text: str, resource: Resource) -> float:
    """A number with a unit of the resource, such as `64MiB`. Raises UnknownName for another unit, ManticoreError."""
    match = re.fullmatch(r"\s*([0-9][0-9_.]*(?:e[+-]?\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    try:
        number = float(match[1].replace("_", "")) if match is not None else math.nan
    except ValueError:
        number = math.nan
    if match is None or not math.isfinite(number) or number <= 0:
        raise ManticoreError(f"{resource.name}={text}: the value is a number above 0 with a unit, such as 64M")
    units = {unit.lower(): factor for unit, factor in UNITS[resource.unit].items()}
    if match[2].lower() not in units:
        known = [unit for unit in UNITS[resource.unit] if unit]
        raise UnknownName(f"unit of {resource.name}", match[2], known)
    return number * units[match[2].lower()]


def parse_limits(texts: Sequence[str], noun: str, numbers: bool = False) -> tuple[Limit, ...]:
    """Limits of text, each resource once.

    Args:
        texts: of the limits.
        noun: their key, for messages.
        numbers: whether each value must be a number or a percentage, not `LARGEST_COMPONENT`.

    Raises as `Limit.parse` does.
    """
    limits = tuple(map(Limit.parse, texts))
    for limit in limits:
        if numbers and limit.value == LARGEST_COMPONENT:
            raise ManticoreError(f"{noun} {limit.text}: give a number here")
    seen: dict[Resource, Limit] = {}
    for limit in limits:
        if limit.resource in seen:
            raise ManticoreError(f"{noun} limits {limit.resource} twice: {seen[limit.resource].text} and {limit.text}")
        seen[limit.resource] = limit
    return limits


QUALITIES = ("score", "loss", "bits_per_byte")
"""What the first objective of a Pareto front may be: the score that paths were selected by, larger being better, or the
validation loss in nats or bits per byte, where that is what scored them."""


def parse_objectives(texts: Sequence[str]) -> tuple[str, tuple[Resource, ...]]:
    """The quality and the resources of a front, such as `["bits_per_byte", "cache_bytes@8192"]`.

    Raises UnknownName for another quality or resource, ManticoreError without resources.
    """
    quality, resources = texts[0], tuple(map(Resource.parse, texts[1:]))
    if quality not in QUALITIES:
        raise UnknownName("quality of a Pareto front", quality, QUALITIES)
    if not resources or len(set(resources)) < len(resources):
        raise ManticoreError("a Pareto front has a quality and one or more resources, each once: loss,cache_bytes@8192")
    return quality, resources


BITS = (16, 8, 4)
"""Bits that the weights of a segment may have in a selection."""


def check_bits(bits: Sequence[int]) -> None:
    """Raise ManticoreError for bits that are not of `BITS`, or stand twice."""
    check_known_bits(bits)
    if len(set(bits)) < len(bits):
        raise ManticoreError(f"each number of bits stands once, not {','.join(map(str, bits))}")


def check_known_bits(bits: Sequence[int]) -> None:
    """Raise ManticoreError for bits that are not of `BITS`."""
    for number in bits:
        if number not in BITS:
            raise ManticoreError(f"bits of weights are 16, 8 or 4, not {number}")


def check_limits(largest: Sequence[str], smallest: Sequence[str]) -> None:
    """Raise ManticoreError for limits that contradict each other, and as `parse_limits` does."""
    most = {limit.resource: limit for limit in parse_limits(largest, "selection.max")}
    for limit in parse_limits(smallest, "selection.min"):
        upper = most.get(limit.resource)
        if upper is None or isinstance(upper.value, str) or isinstance(limit.value, str):
            continue
        if limit.value > upper.value:
            raise ManticoreError(f"no path has at least {limit.text} and at most {upper.text}; give a smaller minimum")
