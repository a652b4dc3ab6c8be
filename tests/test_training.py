from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import training
from helpers.data import ImageSet
from helpers.errors import BadInput
from helpers.loaders import steps_per_epoch
from helpers.models import build
from helpers.recipes import RECIPES, SCHEDULES
from helpers.training import fit, learning_rate, make_optimizer

RECIPE = replace(RECIPES["dilated_193k"], epochs=3, batch_size=40, peak_lr=0.01)


def small(seed=0):
    """A network of every kind of layer that keeps a state, small enough for a test."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def without_times(history):
    return history.table.drop(columns=["seconds", "images_per_second"])


def equal(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_fit_learns_and_reports_every_epoch(few, capsys):
    recipe = replace(RECIPE, epochs=20, augmentation="none")
    history = fit(small(), few, recipe, val=few)
    table = history.table
    assert table.index.tolist() == list(range(1, 21))
    assert table.train_loss.iloc[-1] < table.train_loss.iloc[0] - 0.1
    assert capsys.readouterr().out.count("\n") == 20


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_same_seed_same_run(few, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    first, second, other = small(), small(), small()
    histories = [fit(model, few, recipe, seed=s, log=None) for model, s in ((first, 1), (second, 1), (other, 2))]
    assert equal(first, second) and not equal(first, other)
    assert without_times(histories[0]).equals(without_times(histories[1]))


def test_run_does_not_depend_on_what_ran_before_nor_on_workers(few):
    first, second = small(), small()
    fit(first, few, RECIPE, log=None)
    torch.randn(100)
    np.random.default_rng().random(5)
    fit(second, few, RECIPE, log=None, workers=2)
    assert equal(first, second)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_interrupted_run_ends_as_an_uninterrupted_one(few, tmp_path, monkeypatch, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    whole = small()
    expected = fit(whole, few, recipe, val=few, log=None)
    real = training.train_epoch

    def stops_in_the_third(model, optimizer, data, recipe, seed, epoch, workers):
        if epoch == 2:
            raise KeyboardInterrupt
        return real(model, optimizer, data, recipe, seed, epoch, workers)

    monkeypatch.setattr(training, "train_epoch", stops_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        fit(small(), few, recipe, val=few, run_dir=tmp_path, log=None)
    assert not (tmp_path / "model.safetensors").exists()  # nothing half-finished passes for a result
    monkeypatch.undo()
    resumed = small(seed=5)  # its weights come from the checkpoint
    lines = []
    history = fit(resumed, few, recipe, val=few, run_dir=tmp_path, log=lines.append)
    assert lines[0] == "resumed after epoch 2 of 3" and len(lines) == 2
    assert equal(whole, resumed) and without_times(history).equals(without_times(expected))


def test_run_directory_of_another_run_is_refused_with_what_differs(few, tmp_path):
    fit(small(), few, RECIPE, run_dir=tmp_path, log=None)
    with pytest.raises(BadInput, match=r"peak_lr 0.01 there and 0.02 now"):
        fit(small(), few, replace(RECIPE, peak_lr=0.02), run_dir=tmp_path)
    with pytest.raises(BadInput, match=r"seed 0 there and 1 now"):
        fit(small(), few, RECIPE, run_dir=tmp_path, seed=1)
    history = fit(small(), few, replace(RECIPE, epochs=1), run_dir=tmp_path, resume=False, log=None)
    assert len(history.rows) == 1


def test_schedule_rises_to_its_peak_and_falls_towards_zero():
    rates = [learning_rate(RECIPE, step, 99) for step in range(99)]
    assert max(rates) == pytest.approx(RECIPE.peak_lr) and rates.index(max(rates)) == 19
    assert np.allclose(np.diff(rates[:20]), RECIPE.peak_lr / 20) and np.allclose(
        np.diff(rates[19:]), -RECIPE.peak_lr / 80
    )
    assert 0 < rates[-1] < rates[0]
    assert learning_rate(replace(RECIPE, warmup=0), 0, 9) == pytest.approx(0.9 * RECIPE.peak_lr)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.3), (37, 0.25), (2400, 0.3)])
def test_one_cycle_is_pytorchs(steps, warmup):
    recipe = replace(RECIPE, schedule="one_cycle", warmup=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps, pct_start=warmup)
    for step in range(steps):
        assert learning_rate(recipe, step, steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 0.9])
def test_every_schedule_serves_runs_of_few_steps(steps, warmup):
    for schedule in SCHEDULES:
        recipe = replace(RECIPE, schedule=schedule, warmup=warmup)
        rates = [learning_rate(recipe, step, steps) for step in range(steps)]
        assert all(0 < rate <= recipe.peak_lr * (1 + 1e-12) for rate in rates)


def test_dropout_layers_take_the_recipes_rate_or_keep_their_own(few):
    for rate, expected in ((0.3, [0.3, 0.3]), (None, [0.1, 0.2])):
        model = nn.Sequential(nn.Conv2d(3, 10, 3), nn.Dropout(0.1), nn.Dropout2d(0.2), nn.Flatten(), nn.LazyLinear(10))
        model(torch.zeros(1, 3, 32, 32))
        fit(model, few, replace(RECIPE, epochs=1, dropout=rate), log=None)
        assert [model[1].p, model[2].p] == expected


def test_history_has_the_learning_rate_of_the_last_step(few):
    history = fit(small(), few, RECIPE, log=None)
    steps = steps_per_epoch(few, RECIPE)
    assert history.table.lr.tolist() == [learning_rate(RECIPE, (e + 1) * steps - 1, 3 * steps) for e in range(3)]


def test_norms_and_biases_are_spared_the_weight_decay():
    groups = make_optimizer(build("dilated_193k"), RECIPE).param_groups
    assert [group["weight_decay"] for group in groups] == [RECIPE.weight_decay, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"]) and all(p.ndim == 1 for p in groups[1]["params"])
    assert sum(p.numel() for group in groups for p in group["params"]) == 193_535


def test_training_loss_includes_label_smoothing(few):
    plain, smooth = (
        fit(small(), few, replace(RECIPE, epochs=1, label_smoothing=s, peak_lr=1e-8), log=None).table.train_loss.iloc[0]
        for s in (0.0, 0.2)
    )
    assert plain != smooth


def bad_set(labels):
    return ImageSet(
        np.zeros((len(labels), 32, 32, 3), np.uint8),
        np.array(labels, np.int64),
        tuple("0123456789"),
        "synthetic",
    )


@pytest.mark.parametrize(("labels", "words"), [([], "empty"), ([0, 10], "0 to 9"), ([-1, 3], "0 to 9")])
def test_data_that_cannot_be_trained_on_is_refused(labels, words):
    with pytest.raises(BadInput, match=words):
        fit(small(), bad_set(labels), RECIPE)


@pytest.mark.parametrize("seed", [-1, 1.5, "0"])
def test_wrong_seed_is_refused(few, seed):
    with pytest.raises(BadInput, match="seed"):
        fit(small(), few, RECIPE, seed=seed)


def test_absent_device_is_refused(few):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(BadInput, match="not on this machine"):
        fit(small(), few, RECIPE, device=absent)
