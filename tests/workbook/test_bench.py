"""That bench runs and adds up; how fast anything is, it says itself."""

import json

import pytest

from helpers.errors import BadInput
from helpers.workbook import bench


@pytest.fixture
def here(monkeypatch):
    """Measurements in this process, and small."""
    monkeypatch.setattr(bench, "_in_own_process", lambda *arguments: bench._measure([str(one) for one in arguments]))
    monkeypatch.setattr(bench, "memory", lambda *_: {"peak_mb": 7})
    monkeypatch.setattr(bench, "_matmul_rate", lambda: 100.0)
    monkeypatch.setattr(bench, "engines", lambda: {"pipelines": {"none": ENGINES}, "extra_memory_batches": 2.0})


ENGINES = {"per_image": 100.0, "batched": 2000.0, "ratio": 20.0}


def test_bench_prints_a_row_a_network_and_writes_what_it_measured(here, tmp_path, capsys):
    path = bench.bench(["mobilenet_c40", "wide_2m"], repeats=2, steps=1, batch_size=8, out=tmp_path / "bench.json")
    record = json.loads(path.read_text())
    assert [len(record["measured"][name][kind]) for name in record["measured"] for kind in ("plain", "ours")] == [2] * 4
    header, first, second, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "network" and first.split()[0] == "mobilenet_c40" and second.split()[0] == "wide_2m"
    ours, plain = (record["measured"]["wide_2m"][kind] for kind in ("ours", "plain"))
    ratio = sum(one["images_per_second"] for one in ours) / sum(one["images_per_second"] for one in plain)
    assert f"{ratio:.2f}" in second and "7 MB" in second
    assert all(0 < one["loading"] < 1 and one["images_per_second"] > 0 for one in [*ours, *plain])


def test_bench_takes_the_batches_of_each_recipe(monkeypatch, tmp_path):
    asked = []
    one = {"images_per_second": 2.0, "loading": 0.1, "gflops": 1.0, "save_seconds": 0.1, "peak_mb": 7}
    engines = {"pipelines": {"none": ENGINES}, "extra_memory_batches": 2.0}
    monkeypatch.setattr(
        bench, "_in_own_process", lambda kind, *rest: asked.append(rest) or (engines if kind == "engines" else one)
    )
    bench.bench(["dilated_193k", "wide_2m"], repeats=1, steps=1, batch_size=None, out=tmp_path / "bench.json")
    assert asked == [("dilated_193k", 1, 1024)] * 3 + [("wide_2m", 1, 128)] * 3 + [()]


def test_engines_and_memory_are_measured(monkeypatch):
    measured = bench.engines(count=64, repeats=1)
    assert all(
        one["ratio"] == pytest.approx(one["batched"] / one["per_image"]) for one in measured["pipelines"].values()
    )
    assert measured["extra_memory_batches"] < 4
    assert bench._measure(["memory", "mobilenet_c40", "1", "8"])["peak_mb"] >= 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"networks": ["wide"]}, "Did you mean 'wide_2m'"),
        ({"repeats": 0}, "at least 1"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 0}, "at least 2"),
        ({"out": "."}, "is a folder"),
    ],
)
def test_bench_refuses_before_it_measures(monkeypatch, arguments, words):
    monkeypatch.setattr(bench, "_in_own_process", None)
    with pytest.raises(BadInput, match=words):
        bench.bench(**{"networks": ["wide_2m"], "repeats": 1, "steps": 1, "batch_size": 8, "out": None} | arguments)


def test_a_measurement_that_dies_is_told():
    with pytest.raises(BadInput, match="The measurement .*nowhere.* failed: KeyError: 'nowhere'"):
        bench._in_own_process("ours", "nowhere", 1, 8)
