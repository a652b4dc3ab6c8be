import json
import shutil
import signal
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from faults import states_equal
from helpers.data import ImageSet
from helpers.engines.run_directory import as_json
from helpers.engines.stepping import Stepper
from helpers.errors import BadInput, Interrupted
from helpers.loaders import TrainLoader, steps_per_epoch
from helpers.models import build, set_dropout
from helpers.models.blocks import ConvBlock
from helpers.recipes import RECIPES, Optimizer, Schedule
from helpers.training import (
    MEASURED,
    Run,
    fit,
    learning_rate,
    make_optimizer,
    shrunk,
    train_epoch,
    train_step,
)

RECIPE = replace(RECIPES["dilated_193k"], epochs=3, batch_size=40, peak_lr=0.01)


def small(seed=0):
    """A network of every kind of layer that keeps a state, small enough for a test."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def without_times(history):
    return history.table.drop(columns=MEASURED)


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


def test_run_does_not_depend_on_what_ran_before(few):
    first, second = small(), small()
    fit(first, few, RECIPE, log=None)
    torch.randn(100)
    np.random.default_rng().random(5)
    fit(second, few, RECIPE, log=None)
    assert equal(first, second)


def test_workers_do_not_matter(few):
    first, second = small(), small()
    for model, workers in ((first, 0), (second, 2)):
        fit(model, few, replace(RECIPE, engine="per_image"), log=None, workers=workers)
    assert equal(first, second)


def last_state(run_dir):
    return torch.load(max(run_dir.glob("step-*.pt")), weights_only=True)


def raising(number, *, after):
    """Return an `on_step` that raises the signal when so many steps have been taken."""

    def on_step(run):
        if run.step == after:
            signal.raise_signal(number)

    return on_step


@pytest.mark.parametrize(
    ("number", "stop", "changes", "how"),
    [
        (signal.SIGINT, 1, {}, {}),
        (signal.SIGTERM, 7, {"optimizer": "sgd"}, {"precision": "bfloat16"}),
        (signal.SIGINT, 5, {"optimizer": "adam"}, {}),  # the last step of the first epoch
        (signal.SIGTERM, 8, {"first_size": 16, "schedule": "one_cycle", "optimizer": "muon"}, {}),
        (signal.SIGINT, 12, {"engine": "per_image"}, {"workers": 2}),
        (signal.SIGTERM, 15, {"label_smoothing": 0.1}, {}),  # the last step of all
    ],
)
def test_interrupted_run_ends_as_an_uninterrupted_one(few, tmp_path, stop, changes, how, number):
    recipe = replace(RECIPE, **changes)
    whole, resumed = small(), small(seed=5)  # the second one's weights come from the checkpoint
    expected = fit(whole, few, recipe, val=few, run_dir=tmp_path / "whole", log=None, **how)

    stopped_run = {"val": few, "run_dir": tmp_path / "run", "log": None, **how}
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match=f"after step {stop} of 15") as stopped:
        fit(small(), few, recipe, **stopped_run, on_step=raising(number, after=stop))
    assert stopped.value.signum == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (tmp_path / "run/model.safetensors").exists()  # nothing half-finished passes for a result

    lines = []
    history = fit(resumed, few, recipe, **stopped_run | {"log": lines.append})
    assert lines["precision" in how].startswith(f"resumed after step {stop} of 15")
    assert equal(whole, resumed) and without_times(history).equals(without_times(expected))
    assert states_equal(last_state(tmp_path / "whole"), last_state(tmp_path / "run"))


def test_state_is_saved_within_an_epoch_when_it_is_time(few, tmp_path):
    fit(small(), few, RECIPE, run_dir=tmp_path, log=None, save_every=0)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000000014.pt", "step-000000015.pt"]
    config = json.loads((tmp_path / "config.json").read_text())
    (session,) = config["sessions"]
    assert config["run"]["epochs"] == 3 and session["from_step"] == 0 and session["device"] == "cpu"
    assert session["versions"]["torch"] == torch.__version__.split("+")[0]


def test_every_resumption_is_noted_and_another_machine_told(few, tmp_path):
    with pytest.raises(Interrupted):
        fit(small(), few, RECIPE, run_dir=tmp_path, log=None, on_step=raising(signal.SIGINT, after=6))
    config = json.loads((tmp_path / "config.json").read_text())
    config["sessions"][0]["machine"] = "another machine"
    (tmp_path / "config.json").write_text(as_json(config))
    lines = []
    history = fit(small(), few, RECIPE, run_dir=tmp_path, log=lines.append)
    assert lines[1].startswith("going on with another machine: the end may differ")
    assert [session["from_step"] for session in history.sessions] == [0, 6]
    again = fit(small(), few, RECIPE, run_dir=tmp_path, log=None)  # trains nothing
    assert again.sessions == history.sessions and again.engine == "batched"


def test_callbacks_get_every_step_and_every_row_before_the_state_is_saved(few, tmp_path):
    steps, rows = [], []

    def on_step(run):
        steps.append((run.step, len(list(tmp_path.glob("step-*")))))

    def on_epoch(row):
        rows.append((row, last_state(tmp_path)["step"] if len(rows) else 0))

    history = fit(small(), few, RECIPE, run_dir=tmp_path, log=None, on_step=on_step, on_epoch=on_epoch)
    assert steps == [(step, min((step - 1) // 5, 2)) for step in range(1, 16)]
    assert rows == list(zip(history.rows, [0, 5, 10], strict=True))


def test_a_background_job_ignores_ctrl_c_and_stops_and_saves_on_sigterm(few, tmp_path):
    """A shell starts background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit(small(), few, RECIPE, run_dir=tmp_path / "whole", log=None, on_step=raising(signal.SIGINT, after=3))
        with pytest.raises(Interrupted, match="after step 7 of 15"):
            fit(small(), few, RECIPE, run_dir=tmp_path / "run", log=None, on_step=raising(signal.SIGTERM, after=7))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert last_state(tmp_path / "run")["step"] == 7


def test_images_grow_by_eights_until_seven_tenths_of_the_steps(few):
    images = torch.rand(2, 3, 32, 32)
    sizes = {first: [shrunk(images, first, step / 20).shape[-1] for step in range(20)] for first in (None, 16, 20, 32)}
    assert sizes[None] == sizes[32] == [32] * 20
    assert sizes[16] == [16] * 7 + [24] * 7 + [32] * 6
    assert sizes[20] == [20] * 7 + [28] * 7 + [32] * 6

    met, model = [], small()
    model.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].shape[-1]) if module.training else None)
    fit(model, few, replace(RECIPE, first_size=24), log=None)
    assert met == [24] * 11 + [32] * 4


@pytest.mark.parametrize("name", ["wide_2m", "compact_135k"])
def test_a_network_of_one_image_size_is_refused_smaller_ones(few, name):
    with pytest.raises(BadInput, match=f"{name} takes no images of 16 pixels"):
        fit(build(name), few, replace(RECIPE, network=name, first_size=16), log=None)


def test_smaller_images_are_those_of_pillow():
    images = torch.rand(1, 3, 32, 32)
    for size, done in ((16, 0.0), (24, 0.5)):
        for ours, channel in zip(shrunk(images, 16, done)[0], images[0], strict=True):
            theirs = Image.fromarray(channel.numpy()).resize((size, size), Image.Resampling.BILINEAR)
            assert np.allclose(ours, np.asarray(theirs), atol=1e-6)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_stops_before_the_step_and_leaves_the_last_good_state(few, tmp_path, where):
    model, kept = small(), []

    def poison(run):
        if run.step == 7 and where == "loss":
            model.register_forward_pre_hook(lambda module, inputs: inputs[0] * float("nan"))
        elif run.step == 7:
            model[0].weight.register_hook(lambda gradient: gradient * float("inf"))
        kept[:] = [model[6].weight.detach().clone()]

    rate = learning_rate(RECIPE, 7, 15)
    with pytest.raises(BadInput, match=rf"not finite at step 8 of 15, in epoch 2 at learning rate {rate:.3g}"):
        fit(model, few, RECIPE, run_dir=tmp_path, log=None, save_every=0, on_step=poison)
    assert torch.equal(kept[0], model[6].weight)
    assert last_state(tmp_path)["step"] == 7
    assert all(tensor.isfinite().all() for tensor in last_state(tmp_path)["model"].values())


def test_engines_see_the_same_order_and_learn_alike(few):
    """The two engines draw other augmentations; without any they are one."""
    models = [small(), small()]
    for model, engine in zip(models, ("batched", "per_image"), strict=True):
        fit(model, few, replace(RECIPE, engine=engine, augmentation="none"), log=None)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))


def test_run_directory_of_another_run_is_refused_with_what_differs(few, tmp_path):
    fit(small(), few, RECIPE, val=few, run_dir=tmp_path, log=None)
    with pytest.raises(BadInput, match="holdout_checksum"):
        fit(small(), few, RECIPE, val=few.subset(np.arange(200)[::-1]), run_dir=tmp_path)
    with pytest.raises(BadInput, match=r"peak_lr 0.01 there and 0.02 now"):
        fit(small(), few, replace(RECIPE, peak_lr=0.02), run_dir=tmp_path)
    with pytest.raises(BadInput, match=r"seed 0 there and 1 now"):
        fit(small(), few, RECIPE, run_dir=tmp_path, seed=1)
    history = fit(small(), few, replace(RECIPE, epochs=1), run_dir=tmp_path, resume=False, log=None)
    assert len(history.rows) == 1


def test_state_of_another_layout_is_refused(few, tmp_path):
    fit(small(), few, RECIPE, run_dir=tmp_path, log=None)
    for path in tmp_path.glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        del state["scaler"]
        torch.save(state, path)
    with pytest.raises(BadInput, match="another version of the workbook"):
        fit(small(), few, RECIPE, run_dir=tmp_path, log=None)


def change(name, value):
    def changed(state):
        state[name] = value

    return changed


def first_row(**values):
    def changed(state):
        state["rows"][0].update(values)

    return changed


def first_weights(name, value):
    def changed(state):
        state["optimizer"]["state"][0][name] = value

    return changed


CRAFTED = {
    "too many steps": change("step", 10**9),
    "no number of steps": change("step", "3"),
    "a negative step": change("step", -1),
    "steps without their rows": change("step", 12),
    "no rows": change("rows", 3),
    "rows of numbers": change("rows", [1, 2, 3]),
    "another epoch": first_row(epoch=7),
    "a loss in words": first_row(train_loss="small"),
    "a loss without a value": first_row(train_loss=float("nan")),
    "a sum in words": change("loss_sum", "0"),
    "three sums": change("correct", torch.zeros(3)),
    "seconds in words": change("seconds", "x"),
    "no weights": change("model", {}),
    "a list of weights": change("model", [1]),
    "no optimiser": change("optimizer", 3),
    "an optimiser without groups": change("optimizer", {"state": {}, "param_groups": []}),
    "groups that are none": change("optimizer", {"state": {}, "param_groups": [1, 2]}),
    "another shape": first_weights("exp_avg", torch.zeros(2)),
    "another optimiser's": first_weights("momentum_buffer", torch.zeros(2)),
    "words to add": first_weights("exp_avg", "x"),
    "no number to add": first_weights("exp_avg", torch.tensor(float("nan"))),
}


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    fit(small(), few, RECIPE, run_dir=folder, log=None)
    return folder


@pytest.mark.parametrize("craft", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_state_is_one_sentence(few, finished, tmp_path, craft):
    run = shutil.copytree(finished, tmp_path / "run")
    for path in run.glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        craft(state)
        torch.save(state, path)
    with pytest.raises(BadInput, match="or no run's"):
        fit(small(), few, RECIPE, run_dir=run, log=None)


def test_a_states_own_options_do_not_count(few, tmp_path):
    """The recipe says how much the weights decay, whatever the state does."""
    whole, resumed = small(), small()
    fit(whole, few, RECIPE, run_dir=tmp_path / "whole", log=None)
    with pytest.raises(Interrupted):
        fit(small(), few, RECIPE, run_dir=tmp_path / "run", log=None, on_step=raising(signal.SIGINT, after=7))
    for path in (tmp_path / "run").glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        state["optimizer"]["param_groups"][0]["weight_decay"] = 0.9
        torch.save(state, path)
    fit(resumed, few, RECIPE, run_dir=tmp_path / "run", log=None)
    assert equal(whole, resumed)


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
    for schedule in get_args(Schedule):
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
    """Against the formula: a share s of the target is spread over the ten classes."""
    recipe = replace(RECIPE, epochs=1, label_smoothing=0.2, peak_lr=1e-8, dropout=0.0, batch_size=200)
    images, labels = next(TrainLoader(few, recipe, seed=0).epoch(0))
    model = small()
    set_dropout(model, 0.0)
    logs = model.train()(images).log_softmax(1)
    expected = -(0.8 * logs.gather(1, labels[:, None]).squeeze(1) + 0.2 * logs.mean(1)).mean().item()
    assert fit(small(), few, recipe, log=None).table.train_loss.iloc[0] == pytest.approx(expected, rel=1e-5)


def bad_set(labels):
    return ImageSet(
        np.zeros((len(labels), 32, 32, 3), np.uint8),
        np.array(labels, np.int64),
        tuple("0123456789"),
        "synthetic",
    )


@pytest.mark.parametrize(("labels", "words"), [([], "empty"), ([0, 10], "0 to 9"), ([-1, 3], "0 to 9")])
def test_data_that_cannot_be_trained_or_measured_on_is_refused(few, labels, words):
    with pytest.raises(BadInput, match=words):
        fit(small(), bad_set(labels), RECIPE)
    with pytest.raises(BadInput, match=words):
        fit(small(), few, RECIPE, val=bad_set(labels))


@pytest.mark.parametrize("workers", [-1, "three", 1.5])
def test_wrong_number_of_workers_is_refused(few, workers):
    with pytest.raises(BadInput, match="workers"):
        fit(small(), few, RECIPE, workers=workers)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", 2**63])
def test_wrong_seed_is_refused(few, seed):
    with pytest.raises(BadInput, match="seed"):
        fit(small(), few, RECIPE, seed=seed)


def test_absent_device_is_refused(few):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(BadInput, match="not on this machine"):
        fit(small(), few, RECIPE, device=absent)


# --- what a GPU does, as far as a CPU can show it ---


def test_half_precision_learns_the_same_to_its_few_digits(few):
    losses, lines = {}, []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model = nn.Sequential(ConvBlock(3, 8, stride=2, dropout=0.2), small()[4:])
        history = fit(model, few, replace(RECIPE, dropout=None), precision=precision, log=lines.append)
        losses[precision] = [row["train_loss"] for row in history.rows]
        assert history.sessions[0]["precision"] == precision
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02) and losses["bfloat16"] != losses["float32"]
    told = "trained in bfloat16; weights, norms' statistics and the loss in float32"
    assert lines.index(told) == RECIPE.epochs and lines.count(told) == 1


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_divergence_that_was_not_waited_for_is_found_before_a_state_is_saved_and_at_the_epochs_end(few, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, peak_lr=0.01)
    run = Run(small(), recipe, TrainLoader(few, recipe, seed=0))
    run.stepper = Stepper(run.optimizer, run.device, read_at_once=False)
    for group in run.optimizer.param_groups:
        if optimizer != "muon":  # which leaves the weights alone by itself
            group["fused"] = True  # as on a GPU
    kept = []

    def poison(run):
        if run.step == 2:
            run.model.register_forward_pre_hook(lambda module, inputs: inputs[0] * float("nan"))
            kept.extend(p.detach().clone() for p in run.model.parameters())

    train_epoch(run, 0, on_step=poison)
    assert run.step == 5 and all(map(torch.equal, kept, run.model.parameters()))
    for use in (run.state_dict, lambda: run.finish_epoch(None)):
        with pytest.raises(BadInput, match="not finite at step 3 of 15, in epoch 1"):
            use()


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_a_state_goes_on_with_the_optimisers_of_its_new_device(few, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    began, goes_on = (Run(small(), recipe, TrainLoader(few, recipe, seed=0)) for _ in range(2))
    train_step(began, *next(began.loader.epoch(0)))
    for group in goes_on.optimizer.param_groups:
        if optimizer != "muon":
            group["fused"] = True  # as on a GPU
    goes_on.load_state_dict(began.state_dict())
    assert all(group.get("fused", True) for group in goes_on.optimizer.param_groups)
    assert equal(began.model, goes_on.model)
    train_step(goes_on, *next(goes_on.loader.epoch(0)))
