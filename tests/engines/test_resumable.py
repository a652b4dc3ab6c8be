"""What a run survives in memory: signals at every moment, and states saved when they are due."""

import signal
import threading

import pytest
import torch

from helpers.engines.resumable import Stop, repeatable, resumable
from helpers.errors import BadInput, Interrupted

SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Counting:
    """The smallest run: a count, two steps an epoch."""

    steps = 6

    def __init__(self):
        self.step = 0

    @property
    def within_epoch(self):
        return self.step % 2 > 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]

    def place(self):
        return f"step {self.step}"


def opened(run, path, log=print, every=1e9, session=None):
    return resumable(run, path, {"counts": True}, session or {}, resume=True, every=every, log=log)


def count(run, path, on_step=lambda run: None, **options):
    """Count to the end, saving when it is due; return the steps whose states lie in the folder."""
    with opened(run, path, **options) as save:
        while run.step < run.steps:
            run.step += 1
            on_step(run)
            if not run.within_epoch:
                save(now=True)
            save()
    return sorted(int(state.stem.split("-")[1]) for state in path.glob("step-*.pt"))


# --- signals ---


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_and_is_raised_again_at_the_end(number):
    came = []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        with Stop() as stop:
            signal.raise_signal(number)
            assert stop.signum == number and not came
        assert came == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_between_two_handlers_is_as_good_as_any(number, monkeypatch):
    """It comes right after each call that installs a handler."""
    install = signal.signal

    def interrupted(*arguments):
        before = install(*arguments)
        if arguments[0] == number and getattr(arguments[1], "__self__", None).__class__ is Stop:
            signal.raise_signal(number)
        return before

    before = install(number, signal.default_int_handler)
    try:
        monkeypatch.setattr(signal, "signal", interrupted)
        with pytest.raises(KeyboardInterrupt), Stop() as stop:
            assert stop.signum == number
    finally:
        install(number, before)


def test_a_second_signal_acts_as_it_did_before():
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signum == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it was kept, too")


def test_an_error_within_goes_before_a_signal():
    with pytest.raises(ZeroDivisionError), Stop():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError


def test_what_is_ignored_from_the_start_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.signum is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_ctrl_c_is_ignored_it_stays_so_and_sigterm_still_saves(tmp_path):
    def on_step(run):
        signal.raise_signal(signal.SIGINT)
        if run.step == 3:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(Interrupted, match="Stopped after step 3 of 6") as stopped:
            count(Counting(), tmp_path, on_step)
        assert stopped.value.signum == signal.SIGTERM and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_signals_alone():
    found = []

    def work():
        with Stop():
            found.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[signal.getsignal(number) for number in SIGNALS]]


# --- states ---


def test_states_are_saved_at_the_ends_of_epochs_and_when_time_is_up(tmp_path):
    assert count(Counting(), tmp_path / "a") == [4, 6]
    assert count(Counting(), tmp_path / "b", every=0) == [5, 6]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [1, 2, 5, 6])
def test_a_signal_is_obeyed_once_the_state_is_saved_and_the_run_goes_on(tmp_path, number, step):
    def on_step(run):
        if run.step == step:
            signal.raise_signal(number)

    with pytest.raises(Interrupted, match=f"Stopped after step {step} of 6") as stopped:
        count(Counting(), tmp_path, on_step)
    assert stopped.value.signum == number
    lines = []
    assert count(Counting(), tmp_path, log=lines.append)[-1] == 6 and lines == [f"resumed after step {step}"]


def test_every_session_is_noted_and_what_changed_is_told(tmp_path):
    with pytest.raises(ZeroDivisionError):
        count(Counting(), tmp_path, lambda run: 1 / (run.step - 4), session={"machine": "a"})
    lines = []
    with opened(Counting(), tmp_path, lines.append, session={"machine": "b"}) as save:
        assert save.sessions == [{"from_step": 0, "machine": "a"}, {"from_step": 2, "machine": "b"}]
    assert lines[0] == "resumed after step 2" and lines[1].startswith("going on with another machine")


def test_a_state_that_does_not_fit_is_of_another_version(tmp_path):
    class Other(Counting):
        def load_state_dict(self, state):
            raise KeyError("scaler")

    count(Counting(), tmp_path)
    with pytest.raises(BadInput, match="another version of the workbook"):
        count(Other(), tmp_path)


def test_a_state_without_a_session_is_told(tmp_path):
    count(Counting(), tmp_path)
    (tmp_path / "config.json").write_text('{"run": {"counts": true}, "sessions": []}')
    with pytest.raises(BadInput, match="names no session"):
        count(Counting(), tmp_path)


def test_without_a_folder_nothing_is_saved_and_signals_act_at_once():
    with pytest.raises(KeyboardInterrupt), opened(Counting(), None, session={"machine": "a"}) as save:
        save(now=True)
        assert save.sessions == [{"machine": "a"}]
        signal.raise_signal(signal.SIGINT)


def test_generators_are_left_as_they_were():
    before = torch.random.get_rng_state()
    with repeatable():
        torch.manual_seed(7)
    assert torch.equal(before, torch.random.get_rng_state())
