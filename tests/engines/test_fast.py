import platform
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from helpers.engines.fast import half_precision, is_faster
from helpers.errors import BadInput

CPU, SHAPE = torch.device("cpu"), (4, 3, 8, 8)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_kept_memory_comes_back_without_page_faults():
    """In a process of its own, since what was asked for once holds to the end."""
    script = """
import resource, torch
from helpers.engines.fast import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16, 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
keep_freed_memory()
for _ in range(4):  # until the heap has grown
    faults()
print(before, faults())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert after < before / 10


class Slow(nn.Conv2d):
    """Takes its time in one precision, as a layer does for which the library has no kernel."""

    def __init__(self, precision):
        super().__init__(3, 4, 3)
        self.precision = precision

    def forward(self, images):
        features = super().forward(images)
        if features.dtype == self.precision:
            time.sleep(0.05)
        return features


@pytest.mark.parametrize(("slow", "chosen"), [(torch.float32, torch.bfloat16), (torch.bfloat16, None)])
def test_matrix_units_are_used_where_the_network_is_faster_in_half_precision(monkeypatch, slow, chosen):
    model = Slow(slow)
    assert is_faster(torch.bfloat16, model, SHAPE) == (chosen is not None)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    generator = torch.get_rng_state()
    assert half_precision("auto", CPU, model, SHAPE) == chosen
    assert half_precision("float32", CPU, model, SHAPE) is None
    assert model.weight.grad is None and torch.equal(torch.get_rng_state(), generator)


def test_a_processor_without_matrix_units_takes_half_precision_on_request_only(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert half_precision("auto", CPU, Slow(torch.float32), SHAPE) is None
    assert half_precision("bfloat16", CPU, Slow(torch.float32), SHAPE) == torch.bfloat16


@pytest.mark.parametrize(
    ("wanted", "device", "words"),
    [("bfloat", "cpu", "no precision 'bfloat'.*'bfloat16'"), ("bfloat16", "mps", "'mps' does not compute in bfloat16")],
)
def test_a_precision_that_is_not_there_is_refused(wanted, device, words):
    with pytest.raises(BadInput, match=words):
        half_precision(wanted, torch.device(device), Slow(torch.float32), SHAPE)
