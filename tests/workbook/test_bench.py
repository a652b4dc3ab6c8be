"""That bench runs and adds up; how fast anything is, it says itself."""

import json
import os
import time

import pytest
import torch

from helpers.augment import AUGMENTATIONS
from helpers.errors import BadInput
from helpers.models import MODELS, build
from helpers.models.blocks import Dropout
from helpers.recipes import RECIPES
from helpers.workbook import bench

PIPELINES = {"none": {"per_image": 100.0, "batched": 2000.0, "ratio": 20.0}}


@pytest.fixture
def one_thread():
    """What may change the number of threads, without a trace in other tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Figures:
    """Measurements of a machine that gets slower, and what was asked for."""

    def __init__(self):
        self.asked, self.speed = [], 1000.0

    def __call__(self, function, *arguments):
        self.asked.append((function.__name__, *arguments))
        self.speed *= 0.9
        loop = {"images_per_second": self.speed, "loading": 0.1, "gflops": 100.0}
        return {
            "time_plain_loop": loop,
            "time_workbook_loop": {
                **loop,
                "images_per_second": 3 * self.speed,
                "precision": "float32",
                "save_seconds": 0.1,
            },
            "matmul_rate": 100.0,
            "profile_step": {"convolution": 0.75, "rest": 0.25},
            "measure_step_memory": {"peak_mb": 7},
            "time_augmentation": PIPELINES,
        }[function.__name__]


@pytest.fixture(params=[False, True])
def half(request, monkeypatch):
    """A machine without units for half precision, and one with."""
    monkeypatch.setattr(bench, "multiplies_in_half", lambda device: request.param)
    return request.param


def test_bench_prints_a_row_a_network_and_writes_what_it_measured(tmp_path, capsys, half):
    networks = ["mobilenet_c40", "wide_2m"]
    path = bench.bench(networks, repeats=2, steps=1, batch_size=8, out=tmp_path / "bench.json", measure=Figures())
    record = json.loads(path.read_text())
    kinds = [len(record["measured"][name][kind]) for name in networks for kind in ("plain", "ours", "auto", "memory")]
    assert kinds == [2, 2, 2 * half, 1] * 2
    assert record["pipelines"] == PIPELINES and record["step_shares"]["wide_2m"]["convolution"] == 0.75
    machine, header, first, second, *rest = capsys.readouterr().out.splitlines()
    assert machine.startswith(record["machine"]) and ("100 in bfloat16" in machine) == half
    assert [line.split()[0] for line in (header, first, second)] == ["network", *networks]
    ours, plain = (record["measured"]["wide_2m"][kind] for kind in ("ours", "plain"))
    ratio = sum(one["images_per_second"] for one in ours) / sum(one["images_per_second"] for one in plain)
    assert f" {ratio:.2f} " in second and "7 MB" in second and "75.0  25.0" in "\n".join(rest)


def test_bench_takes_all_networks_in_turns_and_the_batches_of_each_recipe(tmp_path, half):
    measure = Figures()
    bench.bench([], repeats=2, steps=3, batch_size=None, out=tmp_path / "bench.json", measure=measure)
    expected = [("matmul_rate", "float32"), ("matmul_rate", "bfloat16")][: 1 + half]
    precisions = ("float32", "auto")[: 1 + half]
    for name in MODELS:
        loops = [("time_plain_loop", name, RECIPES[name].batch_size, 3)]
        loops += [("time_workbook_loop", name, RECIPES[name].batch_size, 3, kind) for kind in precisions]
        expected += [*loops, *loops, ("measure_step_memory", name)]
    expected += [("profile_step", name, RECIPES[name].batch_size) for name in MODELS]
    assert measure.asked == [*expected, ("time_augmentation",)]
    assert {("time_plain_loop", "dilated_193k", 1024, 3), ("time_plain_loop", "wide_2m", 128, 3)} < set(expected)


def test_both_loops_and_their_memory_are_measured():
    plain = bench.time_plain_loop("mobilenet_c40", 8, steps=1)
    ours = bench.time_workbook_loop("mobilenet_c40", 8, steps=1, precision="float32")
    for one in (plain, ours):
        assert one["images_per_second"] > 0 and 0 < one["loading"] < 1 and one["gflops"] > 0
    assert ours["save_seconds"] > 0
    assert bench.measure_step_memory("mobilenet_c40", batch_size=8)["peak_mb"] >= 0


def test_the_shares_of_a_step_add_up():
    shares = bench.profile_step("mobilenet_c40", batch_size=8)
    assert sum(shares.values()) == pytest.approx(1) and all(share > 0 for share in shares.values())


def test_engines_are_measured(one_thread):
    measured = bench.time_augmentation(count=64, repeats=1)
    assert list(measured) == list(AUGMENTATIONS)
    assert all(one["ratio"] == pytest.approx(one["batched"] / one["per_image"]) for one in measured.values())


def test_the_first_steps_are_not_counted():
    def batches():
        for seconds in (0.1, 0.1, 0.05, 0.05):
            time.sleep(seconds)
            yield seconds

    timed = bench.Timed(batches())
    started = time.perf_counter()
    for seconds in timed:
        time.sleep(seconds)
    passed = time.perf_counter() - started
    pace = timed.pace(images=2)
    assert 2 / (passed - 0.4 + 0.01) < pace["images_per_second"] <= 2 / 0.2
    assert pace["loading"] == pytest.approx(0.5, abs=0.3)


def test_the_plain_loop_drops_out_as_torch_does():
    before = [layer.p for layer in build("wide_2m").modules() if isinstance(layer, Dropout)]
    layers = [layer for layer in bench.use_torch_dropout(build("wide_2m")).modules() if hasattr(layer, "p")]
    assert [layer.p for layer in layers] == before and {type(layer) for layer in layers} == {torch.nn.Dropout}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"networks": ["wide"]}, "Did you mean 'wide_2m'"),
        ({"repeats": 0}, "at least 1"),
        ({"steps": 0}, "at least 1"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 0}, "at least 2"),
        ({"out": "."}, "is a folder"),
        ({"out": ""}, "file's name is ''"),
        ({"out": "/dev/null/bench.json"}, "cannot be written to"),
    ],
)
def test_bench_refuses_before_it_measures(arguments, words):
    measure = Figures()
    given = {"networks": ["wide_2m"], "repeats": 1, "steps": 1, "batch_size": 8, "out": None, "measure": measure}
    with pytest.raises(BadInput, match=words):
        bench.bench(**{**given, **arguments})
    assert not measure.asked


def test_a_measurement_has_a_process_of_its_own():
    assert bench.run_in_own_process(os.getppid) == os.getpid()
    with pytest.raises(ZeroDivisionError, match="by zero"):
        bench.run_in_own_process(divmod, 1, 0)


def test_a_measurement_that_dies_is_told():
    with pytest.raises(BadInput, match="The measurement _exit 3 failed: its process died"):
        bench.run_in_own_process(os._exit, 3)
