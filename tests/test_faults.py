"""What a run survives: kill -9, a full disk, damaged files, a second run in its folder."""

import errno
import io
import itertools
import json
import os
import pickle
import shutil
import signal
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import faults
from faults import RECIPE, Killer, assert_same_end, newest_step, train, watched
from helpers.engines.run_directory import RunDirectory
from helpers.errors import BadInput
from helpers.models import has_weights

CRASHED = 7  # steps of the run in `crashed`, of 12
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes off")
threads_do_no_harm = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the child uses one


class Stop(Exception):
    """Ends a training as a crash would: nothing more is saved."""


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One thread, for small steps and busy machines; and no waiting for the disk, which only a power cut would show."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data():
    return faults.images()


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, data)
    return folder


@pytest.fixture(scope="module")
def crashed(data, tmp_path_factory):
    """The folder of a run that crashed when CRASHED steps were saved."""
    folder = tmp_path_factory.mktemp("crashed")
    with pytest.raises(Stop):
        train(folder, data, on_step=crash_after(CRASHED + 1))  # before that step is saved
    assert newest_step(folder) == CRASHED
    return folder


def crash_after(steps):
    def on_step(run):
        if run.step == steps:
            raise Stop

    return on_step


@pytest.fixture
def halted(crashed, tmp_path):
    return shutil.copytree(crashed, tmp_path / "run")


def at(moment, name, number, error):
    """Return an `act` that raises the error when this moment comes for that time."""
    count = itertools.count(1)

    def act(*event):
        if event == (moment, name) and next(count) == number:
            raise error

    return act


def resume(folder, data):
    """Train on to the end and return what was said."""
    lines = []
    train(folder, data, log=lines.append)
    return lines


# --- kill -9 ------------------------------------------------------------------------------------------------------


@needs_fork
@threads_do_no_harm
@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU's driver survives no fork; make faults does")
def test_training_killed_at_random_moments_ends_as_if_left_alone(tmp_path, data):
    killer = Killer(tmp_path, data, seed=0)
    killer.kill_until_it_ends(tmp_path / "run", most=8)
    assert killer.hits.total() >= 5, killer.hits


def test_partial_files_of_a_killed_process_are_cleared_at_the_start(halted, data, whole):
    (halted / ".step-000000008.pt.4711.partial").write_bytes(b"half")
    resume(halted, data)
    assert_same_end(halted, whole)


def test_start_anew_that_is_cut_short_leaves_no_weights_without_their_config(whole, tmp_path):
    for call in itertools.count(1):
        folder = shutil.copytree(whole, tmp_path / str(call))
        crash = at("after", "Path.unlink", call, Stop())
        try:
            with watched(crash), RunDirectory(folder, {"epochs": 1}, resume=False):
                break
        except Stop:
            config = folder / "config.json"
            theirs = config.exists() and json.loads(config.read_text())["run"]["epochs"] == RECIPE.epochs
            assert theirs or not has_weights(folder)
    assert call > 5


# --- a full disk --------------------------------------------------------------------------------------------------


def full_disk(call, seen):
    """Return an `act`: at the call of this number there is no space left; `seen` gets what was asked for."""

    def act(moment, name):
        if moment != "after" and name != "Path.unlink":  # a full disk lets go of files
            seen.append((moment, name))
            if len(seen) == call:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return act


def test_full_disk_at_any_call_is_told_and_harms_nothing(data, whole, tmp_path):
    """A run that goes on needs fewer calls than one from the start; each attempt fails one call later."""
    names = Counter()
    for call in itertools.count(1):
        step, seen = newest_step(tmp_path), []
        try:
            with watched(full_disk(call, seen)):
                train(tmp_path, data)
        except BadInput as error:
            names[seen[-1]] += 1
            assert "No space left on device" in str(error)
            assert newest_step(tmp_path) >= step and not list(tmp_path.glob(".*.partial")), seen
        else:
            break
    assert call > 15 and len(names) == 5, names
    assert_same_end(tmp_path, whole)


# --- damaged files ------------------------------------------------------------------------------------------------


def flip_a_bit(content):
    """Flip one in the middle, among the tensors' numbers, where torch itself sees no damage."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-100],
    "one bit": flip_a_bit,
    "garbage": lambda content: os.urandom(len(content)),
}


def newest(folder):
    return max(folder.glob("step-*.pt"))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoint_is_told_and_the_one_before_taken(halted, data, whole, damage):
    path = newest(halted)
    path.write_bytes(damage(path.read_bytes()))
    lines = resume(halted, data)
    assert lines[0].startswith(f"{path} is damaged") and lines[1].startswith(f"resumed after step {CRASHED - 1} of 12")
    assert path.with_suffix(".damaged").exists() and not path.exists()
    assert_same_end(halted, whole)


def test_flipped_bit_is_one_that_torch_does_not_see(halted):
    state = newest(halted).read_bytes()
    torch.load(io.BytesIO(flip_a_bit(state)), weights_only=True)


def test_checkpoint_that_the_disk_cannot_read_is_told_and_the_one_before_taken(halted, data, whole, monkeypatch):
    path, real = newest(halted), io.open

    def failing(file, *args, **kwargs):
        if str(file) == str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", failing)  # zipfile's
        lines = resume(halted, data)
    assert lines[0].startswith(f"{path} is damaged")
    assert_same_end(halted, whole)


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def saved_by_torch(content):
    buffer = io.BytesIO()
    torch.save({"step": content}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("write", [saved_by_torch, pickle.dumps])
def test_hostile_checkpoint_with_sound_checksums_runs_nothing(halted, data, whole, tmp_path, write):
    content = write(Hostile(tmp_path / "ran"))
    path = halted / f"step-{CRASHED + 1:09d}.pt"
    path.write_bytes(content)
    lines = resume(halted, data)
    assert lines[0].startswith(f"{path} is damaged") and lines[1].startswith(f"resumed after step {CRASHED} of 12")
    assert not (tmp_path / "ran").exists()
    assert_same_end(halted, whole)


def test_hostile_checkpoint_is_hostile(tmp_path):
    torch.load(io.BytesIO(saved_by_torch(Hostile(tmp_path / "ran"))), weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_folder_of_damaged_checkpoints_only_is_refused(halted, data, damage):
    for path in halted.glob("step-*.pt"):
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match="Every checkpoint in .* is damaged"):
        train(halted, data)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"run": []}', b'{"run": 3}', b"\xff\xfe", b"\0" * 99])
def test_damaged_config_is_refused(halted, data, text):
    (halted / "config.json").write_bytes(text)
    with pytest.raises(BadInput, match="config.json is damaged"):
        train(halted, data)


def test_checkpoints_without_a_config_are_refused(halted, data):
    (halted / "config.json").unlink()
    with pytest.raises(BadInput, match="config.json is missing"):
        train(halted, data)


# --- two runs in one folder ---------------------------------------------------------------------------------------


@contextmanager
def locked_by_another_process(folder):
    """Let a child hold the folder, then kill it."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        with RunDirectory(folder, {}, resume=False):
            os.write(send, b"!")
            signal.pause()
    try:
        os.close(send)
        assert os.read(receive, 1) == b"!"
        yield
    finally:
        os.close(receive)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@needs_fork
@threads_do_no_harm
def test_folder_in_which_another_process_trains_is_refused_until_that_is_killed(data, whole, tmp_path):
    with locked_by_another_process(tmp_path / "run"), pytest.raises(BadInput, match="Another process trains in"):
        train(tmp_path / "run", data)
    train(tmp_path / "run", data, resume=False)
    assert_same_end(tmp_path / "run", whole)


def test_folder_in_which_this_process_trains_is_refused(data, whole, tmp_path):
    def second_run(line):
        with pytest.raises(BadInput, match="trains in"):
            train(tmp_path / "run", data)
        with pytest.raises(BadInput, match="trains in"):
            train(tmp_path / "run", data, resume=False)

    train(tmp_path / "run", data, log=second_run)
    assert_same_end(tmp_path / "run", whole)


def test_folder_below_a_file_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(BadInput, match="cannot be written to"):
            train(folder, data)
