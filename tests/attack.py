"""Every attack on the checker and on a run's folder that was tried once, and random ones: tried, told, wrong.

`make attack` runs this file in less than ten minutes. What is written down is run from test_attacks.py and from the
students' files that test_grading.py hands in. ATTACK_SEED (0) draws the random ones, ATTACK_COUNT (30) says how many
networks of each kind, and ten times as many bits are flipped in each file. Told is what was judged as it should be.
"""

import copy
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import faults
from engines.test_oracle import KINDS, random_network
from helpers.assignment import check
from helpers.data import ImageSet
from helpers.engines.evidence import examine
from helpers.engines.run_directory import RESULT, read_config, read_json, read_state
from helpers.errors import BadInput
from helpers.models.weights import load_weights
from helpers.receptive_field import gradient_receptive_field
from helpers.results import result, write_result
from test_attacks import IDLE, MAX_POOLING, Base, C, Narrow
from test_weights import flipped

FILES = [Path(__file__).with_name("test_attacks.py"), Path(__file__).with_name("whole") / "test_grading.py"]


class Written:
    """Counts pytest's tests of what was tried once, by file."""

    def __init__(self):
        self.counts: dict[str, Counter] = {}

    def pytest_runtest_logreport(self, report):
        counts = self.counts.setdefault(Path(report.nodeid.split("::")[0]).name, Counter())
        if report.when == "call" and not report.skipped:
            counts["told" if report.passed else "wrong"] += 1
        elif report.failed:
            counts["wrong"] += 1
        if report.failed:
            print(f"wrong: {report.nodeid}: {report.longreprtext.splitlines()[-1]}")


def written() -> dict[str, Counter]:
    """Run what is written down."""
    os.environ.setdefault("GRADE_SECONDS", "30")
    plugin = Written()
    pytest.main(["-p", "no:terminal", "-p", "no:cacheprovider", *map(str, FILES)], plugins=[plugin])
    return plugin.counts


# --- random networks ----------------------------------------------------------------------------------------------


def random_wide(chance: np.random.Generator) -> nn.Sequential:
    """Return a depthwise-separable pair and a dilated convolution of random kernels, that widen the field."""
    kernel, dilation, last = int(chance.choice([3, 5])), int(chance.integers(2, 12)), int(chance.choice([3, 5]))
    activation = [nn.ReLU, nn.GELU, nn.Tanh, nn.Identity][chance.integers(4)]
    pair = nn.Conv2d(C, C, kernel, padding=kernel // 2, groups=C), nn.Conv2d(C, C, 1), activation()
    return nn.Sequential(*pair, nn.Conv2d(C, C, last, padding=dilation * (last // 2), dilation=dilation))


def idle(chance: np.random.Generator) -> str:
    """Hide random layers that change nothing behind a random trick; return what is wrong, "" for nothing."""
    trick = str(chance.choice(list(IDLE)))

    class Idle(Narrow):
        def add(self, f, t):
            return IDLE[trick](f, t)

    model = Idle()
    model.wide = random_wide(chance)
    rows = check(model).set_index("constraint")
    unmet = {"receptive field", "depthwise-separable convolutions", "dilated convolutions"}
    passed = sorted(unmet & set(rows.index[rows.passed]))
    return f"{trick}: {passed}, {model.wide}" if passed or rows.actual["receptive field"] != 3 else ""


def pooling(chance: np.random.Generator) -> str:
    """Pool by a random trick after random layers; return what is wrong."""
    trick = str(chance.choice(list(MAX_POOLING)))

    class Pooling(Base):
        def tail(self, x):
            return self.last(MAX_POOLING[trick](x))

    model = Pooling()
    model.wide = random_wide(chance)
    rows = check(model).set_index("constraint")
    return f"{trick} after {model.wide}" if rows.passed["max-pooling"] else ""


def honest(chance: np.random.Generator) -> str:
    """Compare the field of a random network, as the checker finds it, with the gradient oracle's."""
    pooled = 4 * int(chance.integers(10**6)) + int(chance.integers(3))  # of every four seeds the last gives no pooling
    network = random_network(str(chance.choice(KINDS)), pooled)
    found, oracle = examine(network).field, min(gradient_receptive_field(network))
    return "" if found == oracle else f"{found} by the checker, {oracle} by gradients: {network}"


def counted(attack: Callable[[np.random.Generator], str], count: int, seed: int) -> Counter:
    """Try so many; a refusal in a sentence is told, too, and counted."""
    counts = Counter()
    for number in range(count):
        torch.manual_seed(number)
        try:
            wrong = attack(np.random.default_rng([seed, number]))
        except BadInput:
            counts["refused"], wrong = counts["refused"] + 1, ""
        except Exception as error:  # a traceback is no answer
            wrong = repr(error)
        counts["wrong" if wrong else "told"] += 1
        if wrong:
            print(f"wrong: {attack.__name__} {number}: {wrong}")
    return counts


# --- flipped bits -------------------------------------------------------------------------------------------------


def finished(folder: Path, data: ImageSet) -> Path:
    """Train in the folder, a few steps, and write its result."""
    model, recipe = faults.network(), replace(faults.RECIPE, epochs=1)
    history = faults.fit(model, data, recipe, run_dir=folder, device="cpu", save_every=0)
    logits = torch.zeros(len(data), 10)
    write_result(folder / RESULT, result(recipe, model, history, logits, data, data, seed=0))
    return folder


def answers(folder: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Yield each file of a run that decides an answer, with what reads it."""
    weights, config, record = (folder / name for name in ("model.safetensors", "config.json", RESULT))
    yield weights, lambda: load_weights(weights)
    yield config, lambda: read_config(folder)
    names = read_json(record, "is damaged").keys()  # without its digest, whose own name a flip may change
    yield record, lambda: {name: read_json(record, "is damaged")[name] for name in names}
    (*_, newest) = sorted(folder.glob("step-*.pt"))
    yield newest, lambda: read_state(newest)


def flips(path: Path, read: Callable[[], object], count: int, seed: int) -> Counter:
    """Flip a random bit, so many times: it is told, or changes no answer, as where it lies in a gap, or is wrong."""
    content, chance, counts = path.read_bytes(), random.Random(seed), Counter()
    right = copy.deepcopy(read())
    for _ in range(count):
        path.write_bytes(flipped(content, range(len(content)), chance))
        try:
            same = faults.states_equal(read(), right)
        except Exception as error:  # of a checkpoint, RunDirectory.load tells all
            one_sentence = isinstance(error, BadInput) or path.suffix == ".pt"
            counts["told" if one_sentence else "wrong"] += 1
        else:
            counts["harmless" if same else "wrong"] += 1
    path.write_bytes(content)
    return counts


def main() -> int:
    seed, count = (int(os.environ.get(name, value)) for name, value in (("ATTACK_SEED", 0), ("ATTACK_COUNT", 30)))
    print(f"ATTACK_SEED={seed} ATTACK_COUNT={count}", flush=True)
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = finished(Path(folder) / "run", faults.images())
        table = {f"bits of {path.name}": flips(path, read, 10 * count, seed) for path, read in answers(run)}
    table |= {f"random {attack.__name__}": counted(attack, count, seed) for attack in (idle, pooling, honest)}
    table = written() | table
    print(f"\n{'':32}{'tried':>7}{'told':>7}{'wrong':>7}")
    for name, counts in (table | {"all": sum(table.values(), Counter())}).items():
        tried = counts["told"] + counts["wrong"] + counts["harmless"]
        more = ", ".join(f"{counts[kind]} {kind}" for kind in ("harmless", "refused") if counts[kind])
        print(f"{name:32}{tried:7}{counts['told']:7}{counts['wrong']:7}  {more}")
    print(f"in {time.monotonic() - started:.0f} s")
    return int(any(counts["wrong"] for counts in table.values()))


if __name__ == "__main__":
    sys.exit(main())
