"""One training in several processes: two under torchrun here, compared with one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import two_ranks
from helpers.engines import ranks
from helpers.errors import BadInput
from helpers.loaders import TrainLoader


def test_two_processes_have_the_gradients_of_one_stop_together_and_one_goes_on(tmp_path):
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [two_ranks.__file__, tmp_path / "two"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    stopped = f"Stopped after step {two_ranks.STOP} of 10"  # though the signal reached one of them
    assert sorted(line[:3] for line in done.stdout.splitlines() if stopped in line) == ["0: ", "1: "], done.stderr

    of_two = torch.load(tmp_path / "two.pt")
    for name, tensor in two_ranks.gradients().items():
        torch.testing.assert_close(of_two[name], tensor, rtol=1e-9, atol=1e-12)

    one, resumed = two_ranks.network(), two_ranks.network()
    expected = two_ranks.train(one, tmp_path / "one")
    history = two_ranks.train(resumed, tmp_path / "two")
    assert [session["processes"] for session in history.sessions] == [2, 1]
    for column in ("train_loss", "train_accuracy", "val_loss"):
        assert history.table[column].to_numpy() == pytest.approx(expected.table[column].to_numpy(), rel=1e-5), column
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.fixture
def of_three(monkeypatch):
    """Be the second of three processes, as far as nothing is sent."""
    monkeypatch.setattr(ranks, "count", lambda: 3)
    monkeypatch.setattr(ranks, "rank", lambda: 1)


def test_a_batch_is_shared_whole(of_three, monkeypatch):
    assert ranks.own() == (1,)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(ranks.share(np.arange(10)))
    assert np.concatenate(shares).tolist() == list(range(10)) and {len(part) for part in shares} == {3, 4}


def test_more_processes_than_images_in_a_batch_are_refused(of_three, few):
    recipe = two_ranks.RECIPE.__class__(network="x", epochs=1, batch_size=2, peak_lr=0.1)
    with pytest.raises(BadInput, match="3 processes cannot share batches of 2 images"):
        TrainLoader(few, recipe, seed=0)


def test_a_norm_that_is_not_made_for_several_processes_is_refused(of_three):
    with pytest.raises(BadInput, match="BatchNorm1d is not made for several"):
        ranks.spread(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))


def test_alone_nothing_changes(tmp_path: Path):
    model, loss = nn.BatchNorm2d(3), torch.tensor(0.3)
    with ranks.joined():
        assert (ranks.count(), ranks.rank(), ranks.own()) == (1, 0, ())
        assert ranks.spread(model) is model and type(model) is nn.BatchNorm2d
        assert ranks.weighted(loss, 5) is loss and ranks.agree(1, 2) == [1, 2] and ranks.from_first("x") == "x"
