"""Names, units and limits of resources as text."""

from __future__ import annotations

import pytest

from manticore.errors import ManticoreError, UnknownName
from manticore.nas.resources import LARGEST_COMPONENT, Limit, Resource, check_limits, parse_limits


@pytest.mark.parametrize(
    ("text", "resource", "value"),
    [
        ("parameters=120M", Resource("parameters"), 120e6),
        ("parameters=1_000", Resource("parameters"), 1000),
        ("weight_bytes=1.5GB@bfloat16", Resource("weight_bytes", dtype="bfloat16"), 1.5e9),
        ("cache_bytes=64MiB@8192", Resource("cache_bytes", 8192), 64 * 2**20),
        ("cache_bytes=64mib@8192x4:float16", Resource("cache_bytes", 8192, 4, "float16"), 64 * 2**20),
        ("decode_flops=2e6@2048", Resource("decode_flops", 2048), 2e6),
        ("prefill_flops=3.5G", Resource("prefill_flops"), 3.5e9),
    ],
)
def test_a_limit_is_read(text: str, resource: Resource, value: float) -> None:
    limit = Limit.parse(text)
    assert (limit.resource, limit.value) == (resource, value)
    assert Resource.parse(str(resource)) == resource


def test_the_length_of_the_task_completes_a_resource() -> None:
    assert Resource("cache_bytes").at(64) == Resource("cache_bytes", 64)
    assert Resource("cache_bytes", 8).at(64) == Resource("cache_bytes", 8)
    assert Resource("parameters").at(64) == Resource("parameters")


def test_the_largest_component_is_a_value() -> None:
    assert Limit.parse("parameters=largest_component").value == LARGEST_COMPONENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cach_bytes=1", "unknown resource 'cach_bytes'. Did you mean 'cache_bytes'? Known: cache_bytes, decode_flops"),
        ("parameters=1MiB", "unknown unit of parameters 'MiB'"),
        ("cache_bytes=1M", "unknown unit of cache_bytes 'M'"),
        ("cache_bytes=1MiB@8192:int3", "unknown type of numbers 'int3'"),
        ("parameters", "a limit is a resource and a value, such as parameters=120M, not 'parameters'"),
        ("parameters=-1", "the value is a number above 0 with a unit"),
        ("parameters=1.2.3", "the value is a number above 0 with a unit"),
        ("parameters=0", "the value is a number above 0 with a unit"),
        ("parameters=1M@64", "parameters does not depend on length"),
        ("decode_flops=1M@64x2", "decode_flops does not depend on batch; it takes length"),
        ("cache_bytes=1MiB@0", "length and batch must be at least 1"),
        ("cache_bytes=1MiB@8k", "after @ follow the length, x and the batch"),
        ("cache_bytes@8192=1MiB", "the length follows the value: cache_bytes=1MiB@8192"),
    ],
)
def test_a_wrong_limit_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ManticoreError) as refused:
        Limit.parse(text)
    assert message in str(refused.value)
    assert isinstance(refused.value, UnknownName) == message.startswith("unknown")


def test_limits_that_contradict_each_other() -> None:
    with pytest.raises(ManticoreError, match=r"selection\.max limits parameters twice"):
        parse_limits(["parameters=1M", "parameters=2M"], "selection.max")
    with pytest.raises(ManticoreError, match="no path has at least parameters=2M and at most parameters=1M"):
        check_limits(["parameters=1M"], ["parameters=2M"])
    check_limits(["parameters=2M", "cache_bytes=1MiB@8"], ["parameters=1M", "cache_bytes=2MiB@9"])


def test_a_percentage_is_a_value() -> None:
    limit = Limit.parse("cache_bytes=50%@8192")
    assert (limit.share, limit.resource) == (0.5, Resource("cache_bytes", 8192))
    assert Limit.parse("parameters= 12.5 % ").share == 0.125
    assert Limit.parse("parameters=12").share is None
    assert Limit.parse("parameters=largest_component").share is None
    for text in ("parameters=0%", "parameters=1..2%", "parameters=%"):
        with pytest.raises(ManticoreError, match="the value is a number above 0"):
            Limit.parse(text)
    assert parse_limits(["parameters=50%"], "--max", numbers=True)[0].share == 0.5
