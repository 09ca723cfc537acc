"""Latency from a table: parts, keys, interpolation, limits, and tables that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from manticore.adapters.base import adapted_layers
from manticore.adapters.options import AdapterOptions
from manticore.bench.latency import Timer, Workload, model_run, modes_of, supernet_parts, time_parts, workloads
from manticore.bench.whole_paths import path_parts, reference_paths, scaled_times
from manticore.errors import BadFile, ManticoreError
from manticore.experiment.adapters import adapt
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.expected_cost import CostPenalty
from manticore.nas.latency import VARIABLE, LatencyTable, Machine, PartLatency, current_table, parts_of, using
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import op_supernet
from tests.helpers.pico import VOCAB, supernet

HERE = Machine.current(torch.device("cpu"))
TIMER = Timer(torch.device("cpu"), repeats=1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "latency.json"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def invented(net: Supernet, lengths: tuple[int, ...] = (8, 32), **fields: object) -> LatencyTable:
    """A table in which the n-th part of a supernet takes n * length milliseconds, of `decode` n."""
    table = LatencyTable(HERE)
    digests = [part.digest for part in supernet_parts(net)]
    for part in supernet_parts(net):
        number = digests.index(part.digest) + 1
        for mode in modes_of(net):
            ms = {length: float(number * (1 if mode == "decode" else length)) for length in lengths}
            entry = PartLatency(part.kind, part.name, part.digest, mode, 1, "float32", ms)
            table.add(replace(entry, **fields))  # type: ignore[arg-type]
    return table


def test_parts_of_equal_structure_have_one_digest() -> None:
    net = supernet("gpt_neo", "mamba", skip=True)  # layers alternate: global, local
    kinds = [part.kind for part in parts_of(net.topology.path_modules(net, 0, "donor"), "donor")]
    assert kinds == ["segment", "projectors"]
    assert not [*parts_of(net.topology.path_modules(net, 0, "skip"), "skip")]
    stages = [next(parts_of(net.topology.path_modules(net, stage, "base"), "base")).digest for stage in range(3)]
    assert len({*stages}) == len({tuple(layers) for layers in ([0], [1], [2, 3])})
    again = supernet("gpt_neo", "mamba", skip=True)
    assert [part.digest for part in supernet_parts(net)] == [part.digest for part in supernet_parts(again)]
    with torch.device("meta"):
        empty = supernet("gpt_neo", "mamba", skip=True)
    assert [part.digest for part in supernet_parts(net)] == [part.digest for part in supernet_parts(empty)]


def test_adapters_which_are_merged_do_not_change_the_parts() -> None:
    net = supernet("gpt2", "mamba")
    before = [part.digest for part in supernet_parts(net)]
    adapt(net, AdapterOptions(name="lora"))
    assert adapted_layers(net)
    assert [part.digest for part in supernet_parts(net)] == before


def test_a_path_takes_the_sum_of_its_parts() -> None:
    net = supernet("gpt_neo", "mamba")
    digests = [part.digest for part in supernet_parts(net)]
    path = ["base", "donor", "donor"]
    modules = [net.topology.path_modules(net, stage, name) for stage, name in enumerate(path)]
    parts = [part for of, name in zip(modules, path, strict=True) for part in parts_of(of, name)]
    parts += parts_of(net.topology.fixed_modules(net), "base")
    total = sum(digests.index(part.digest) + 1 for part in parts)
    with using(invented(net)):
        costs = PathCosts(net, 8)
        assert costs.cost(path, Resource("prefill_ms")) == total * 8
        assert costs.cost(path, Resource("decode_ms")) == total
        assert costs.cost(path, Resource("prefill_ms", 16)) == pytest.approx(total * 16)  # between 8 and 32


def test_times_of_a_power_of_the_length_are_interpolated_exactly() -> None:
    entry = PartLatency("segment", "", "", "prefill", 1, "float32", {64: 64.0**2, 256: 256.0**2})
    assert entry.at(128) == pytest.approx(128.0**2)
    assert entry.at(64) == 64.0**2
    assert entry.at(32) is None
    assert entry.at(257) is None


def test_latency_limits_the_selection_with_other_resources() -> None:
    net = supernet("gpt_neo", "mamba")
    scores = [[0.0, 1.0]] * 3  # the donor is better at every stage
    with using(invented(net)):
        costs = PathCosts(net, 8)
        everything = {path: costs.cost(path, Resource("prefill_ms")) for path in net.choices.paths()}
        limit = sorted(everything.values())[3]
        budget = Budget.of(8, prefill_ms=limit, parameters=1e9)
        best = tuple(budget.best(costs, scores))
        affordable = [path for path, ms in everything.items() if ms <= limit]
        assert best.count("donor") == max(path.count("donor") for path in affordable)
        assert everything[best] <= limit
        with pytest.raises(ManticoreError, match=r"no path has prefill_ms@8 of at most 0\.001 ms; the nearest, .* ms"):
            Budget.of(8, prefill_ms=0.001).check(costs)
        bound = Budget.of(8, prefill_ms=1.0).bounds(costs)[Resource("prefill_ms", 8)]
        penalty = CostPenalty([bound], net.choices, 1.0)(net.weights())
        penalty.backward()
        assert net.alpha.grad is not None
        assert float(net.alpha.grad.abs().sum()) > 0


def test_real_times_of_parts_and_of_a_hybrid_are_positive() -> None:
    net = op_supernet()
    table = LatencyTable(HERE)
    for workload in workloads(modes_of(net), (2,), (9,), ("float32",)):
        for entry in time_parts(supernet_parts(net), net, workload, TIMER):
            table.add(entry)
    assert {entry.kind for entry in table.entries.values()} == {"segment", "op", "projectors", "ends"}
    path = next(iter(net.choices.paths()))
    with using(table):
        for name in ("prefill_ms", "decode_ms"):
            assert 0 < PathCosts(net, 9).cost(path, Resource(name, batch=2)) < 1000
    runs = [model_run(discretize(net, path), Workload(mode, 1, 9)) for mode in modes_of(net)]
    assert all(0 < ms < 1000 for ms in TIMER.fastest(runs))


def test_a_classifier_has_a_forward_pass_and_no_decoding() -> None:
    net = supernet("gpt2", "mamba", HeadSpec("classification", VOCAB, 7))
    assert modes_of(net) == ("forward",)
    part = [*supernet_parts(net)][-1]
    assert part.kind == "ends"
    assert time_parts([part], net, Workload("forward", 1, 8), TIMER)[0].ms[8] > 0
    with using(invented(net)):
        assert PathCosts(net, 8).cost(["base"] * 3, Resource("prefill_ms")) > 0
        with pytest.raises(ManticoreError, match="decode_ms is of language models"):
            PathCosts(net, 8).table(Resource("decode_ms"))


def test_the_hub_topology_has_ends_of_every_component() -> None:
    net = supernet("gpt2", "mamba", topology="hub")
    parts = [*supernet_parts(net)]
    assert {part.kind for part in parts} == {"segment", "ends"}
    assert {part.name for part in parts if part.kind == "ends"} == {"base", "donor"}
    ends = [part for part in parts if part.kind == "ends"]
    assert all(entry.ms[8] > 0 for entry in time_parts(ends, net, Workload("prefill", 1, 8), TIMER))


def test_a_table_is_saved_and_read(file: Path) -> None:
    net = supernet("gpt2", "mamba")
    table = invented(net)
    table.save(file)
    assert LatencyTable.load(file) == table == current_table()
    table.add(replace(next(iter(table.entries.values())), ms={16: 1.0}))
    assert [*next(iter(table.entries.values())).ms] == [8, 16, 32]


def test_times_of_parts_are_scaled_to_whole_paths() -> None:
    net = op_supernet("gpt2", "mamba", skip=True)
    names = [name for name in net.candidates if name != "skip"]
    paths = reference_paths(net)
    assert paths[: len(names)] == [(name,) * 3 for name in names]
    assert paths[len(names)] == (names[0], names[1], names[0])
    times = {part.digest: 1.0 + number for number, part in enumerate(supernet_parts(net))}
    factors = {"": 1.0, **{name: 0.7 + 0.2 * number for number, name in enumerate(names)}}

    def whole(path: tuple[str, ...]) -> float:
        return sum(factors[name] * times[part.digest] for name, part in path_parts(net, path))

    scaled = scaled_times(net, times, {path: whole(path) for path in paths})
    for path in net.choices.paths():
        parts = path_parts(net, path)
        assert sum(scaled[part.digest] for _, part in parts) == pytest.approx(whole(path))
    base = {part.digest for _, part in path_parts(net, paths[0])}
    known = {digest: time for digest, time in times.items() if digest in base}
    assert scaled_times(net, known, dict.fromkeys(paths[1:], 99.0)) == known


def test_a_table_of_another_machine_is_refused(file: Path) -> None:
    net = supernet("gpt2", "mamba")
    other = replace(HERE, name="Another Processor", threads=64)
    LatencyTable(other, invented(net).entries).save(file)
    with pytest.raises(ManticoreError) as refused:
        PathCosts(net, 8).table(Resource("prefill_ms"))
    text = str(refused.value)
    assert f"{file} is of another machine, Another Processor (cpu), torch {torch.__version__}, 64 threads" in text
    assert f"this is {HERE}: measure here with manticore bench latency" in text
    assert "\n" not in text


def test_what_is_missing_is_named_with_the_command_that_measures_it(file: Path) -> None:
    net = supernet("gpt2", "mamba")
    with pytest.raises(ManticoreError, match=r"there is no latency table of this machine .*: manticore bench latency"):
        PathCosts(net, 8).table(Resource("prefill_ms"))
    LatencyTable(HERE).save(file)
    with pytest.raises(ManticoreError, match=r"no prefill of the segment \(1 layer of base\), 2 x bfloat16; .*") as no:
        PathCosts(net, 8).table(Resource("prefill_ms", batch=2, dtype="bfloat16"))
    assert "manticore bench latency base,donor --task TASK --lengths 8 --batches 2 --dtypes bfloat16" in str(no.value)
    invented(net).save(file)
    with pytest.raises(ManticoreError, match=r"at 8, 32 tokens, not at 64; measure it: .* --lengths 64"):
        PathCosts(net, 64).table(Resource("decode_ms"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"machine": {"device": "cpu"}}', '{"machine": 1, "entries": []}'])
def test_a_file_that_is_no_table_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadFile, match="no table of latencies"):
        current_table()
