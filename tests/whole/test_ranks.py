"""One training in several processes: two here, compared with one."""

import socket
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import two_ranks
from helpers.engines import ranks
from helpers.errors import BadInput
from helpers.loaders import TrainLoader


@pytest.fixture
def stopped(quick_processes, tmp_path):
    """The folder in which two processes trained until a signal reached one of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TQDM_DISABLE": "1"}
    context = get_context("forkserver" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=two_ranks.be, args=(rank, tmp_path, environment)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    return tmp_path


def test_two_processes_have_the_gradients_of_one_stop_together_and_one_goes_on(stopped):
    for rank in (0, 1):
        assert f"Stopped after step {two_ranks.STOP} of 10" in (stopped / f"{rank}.txt").read_text()
    of_two = torch.load(stopped / "gradients.pt")
    for name, tensor in two_ranks.gradients().items():
        torch.testing.assert_close(of_two[name], tensor, rtol=1e-9, atol=1e-12)

    one, resumed = two_ranks.network(), two_ranks.network()
    expected = two_ranks.train(one, stopped / "one")
    history = two_ranks.train(resumed, stopped / "two")
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
