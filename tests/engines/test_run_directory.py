import json
import os
import random
from pathlib import Path

import pytest
import torch

from helpers.engines.run_directory import (
    RESULT,
    WEIGHTS,
    RunDirectory,
    as_json,
    place,
    read_config,
    read_json,
    read_state,
    try_writing,
    write_atomically,
)
from helpers.errors import BadInput

CONFIG = {"network": "tiny", "seed": 0}


def opened(path, config=CONFIG, **kwargs):
    return RunDirectory(path, config, **kwargs)


def names(path):
    return sorted(entry.name for entry in path.iterdir() if entry.name != ".lock")


def test_state_comes_back_as_it_was(tmp_path):
    state = {"model": {"w": torch.randn(4)}, "rows": [{"epoch": 1, "loss": 0.1}], "step": 3}
    with opened(tmp_path) as run:
        run.save(state, 3)
    with opened(tmp_path) as run:
        again = run.load(print)
    assert torch.equal(again["model"].pop("w"), state["model"].pop("w")) and again == state


def test_new_folder_has_no_state_and_says_what_the_run_is(tmp_path):
    with opened(tmp_path / "runs/first") as run:
        assert run.load(print) is None
    written = json.loads((tmp_path / "runs/first/config.json").read_text())
    assert written.keys() == {"run", "sessions", "digest"} and read_config(tmp_path / "runs/first") == (CONFIG, [])


def test_two_newest_checkpoints_are_kept(tmp_path):
    with opened(tmp_path) as run:
        for step in (8, 9, 10, 11):
            run.save({"step": step}, step)
        assert [path.name for path in run.checkpoints()] == ["step-000000011.pt", "step-000000010.pt"]
        assert run.load(print) == {"step": 11}


@pytest.mark.parametrize("moved", ["state", "config"])
def test_a_state_of_another_run_is_not_gone_on_from(moved, tmp_path):
    """A checkpoint from the next seed's folder, and a config that calls the same states another seed's."""
    with opened(tmp_path / "a") as run:
        run.save({"step": 8}, 8)
    other = CONFIG | {"seed": 1}
    with opened(tmp_path / "b", other) as run:
        run.save({"step": 8}, 8)
    name = "step-000000008.pt" if moved == "state" else "config.json"
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with (
        opened(tmp_path / "a", CONFIG if moved == "state" else other) as run,
        pytest.raises(BadInput, match="is of another run"),
    ):
        run.load(print)


def test_folder_of_another_run_is_refused_and_stays_as_it_was(tmp_path):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
    before = names(tmp_path)
    with pytest.raises(BadInput, match="seed 0 there and 1 now, clip None there and 2 now"):
        opened(tmp_path, {"network": "tiny", "seed": 1, "clip": 2}).__enter__()
    assert names(tmp_path) == before
    with opened(tmp_path) as run:  # it is not locked any more
        assert run.load(print) == {"step": 1}


def test_start_anew_leaves_nothing_of_the_run_before(tmp_path):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
        (tmp_path / WEIGHTS).write_bytes(b'{"workbook": "of a run"}')
        (tmp_path / RESULT).write_text('{"recipe": "tiny"}')
    with opened(tmp_path, {"network": "other"}, resume=False) as run:
        assert names(tmp_path) == ["config.json"] and run.load(print) is None


OTHERS = ["log.txt", "model.safetensors", "config.json", ".notes.partial", "step-000000001.pt", "result.json", ".lock"]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_with_ones_own_files_is_refused_and_stays_as_it_was(tmp_path, name, resume):
    (tmp_path / name).write_text('{"mine": "and nobody else\'s"}')
    with pytest.raises(BadInput, match="choose another folder"):
        opened(tmp_path, resume=resume).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [name] and "mine" in (tmp_path / name).read_text()


@pytest.mark.parametrize("resume", [True, False])
def test_ones_own_files_in_a_runs_folder_are_never_touched(tmp_path, resume):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
    mine = {"log.txt", ".notes.partial", "step-best.pt", "step-best-of-all.pt"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    with opened(tmp_path, resume=resume) as run:
        for step in (2, 3, 4):
            run.save({"step": step}, step)
    assert all((tmp_path / name).read_text() == "mine" for name in mine)
    for name in (WEIGHTS, RESULT):  # which the end of a run would put its own in place of
        (tmp_path / name).write_text("mine")
        with pytest.raises(BadInput, match=f"holds what no run has written.*{name}"):
            opened(tmp_path, resume=resume).__enter__()
        (tmp_path / name).unlink()


@pytest.mark.parametrize("sessions", ["3", '"ab"', "[3]", "null", '{"a": 1}'])
def test_sessions_that_are_none_are_told(tmp_path, sessions):
    (tmp_path / "config.json").write_text(f'{{"run": {json.dumps(CONFIG)}, "sessions": {sessions}}}')
    with pytest.raises(BadInput, match="config.json is damaged, or no run's"):
        opened(tmp_path).__enter__()


def test_what_was_edited_is_told_and_what_an_older_version_wrote_is_read(tmp_path):
    path, content = tmp_path / "result.json", {"accuracy": 85.2, "epochs": [{1: (2, None)}], "name": "é"}
    path.write_text(as_json(content))
    assert read_json(path, "is damaged") == content | {"epochs": [{"1": [2, None]}]}
    path.write_text(as_json(content).replace("85.2", "95.2"))
    with pytest.raises(BadInput, match="result.json is damaged .its digest is another one"):
        read_json(path, "is damaged")
    path.write_text('{"accuracy": 85.2}')
    assert read_json(path, "is damaged") == {"accuracy": 85.2}


@pytest.mark.parametrize("state", [None, 3, "abc", [1], torch.ones(2)])
def test_what_is_no_state_is_damaged(tmp_path, state):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
        torch.save(state, tmp_path / "step-000000002.pt")
        assert run.load(print) == {"step": 1}


def test_a_folders_name_is_not_empty_has_its_home_and_is_utf_8(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~/runs") == tmp_path / "runs" and place("~") == tmp_path and place("a~") == Path("a~")
    for name in ("", "  ", "~nobody-of-this-name/runs", "~nobody/x", "~root", "~~/x", "caf\udce9"):
        with pytest.raises(BadInput, match="The run's folder is"):
            place(name)
        with pytest.raises(BadInput, match="The run's folder is"):
            opened(name)


def test_a_place_is_tried_without_a_trace(tmp_path):
    (tmp_path / "file").write_text("old")
    try_writing(tmp_path / "new/file")
    try_writing(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old" and list((tmp_path / "new").iterdir()) == []
    with pytest.raises(BadInput, match="cannot be written to"):
        try_writing(tmp_path / "file/below")


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(source, target):
        assert source.read_bytes() == b"new" and source.parent == path.parent  # whole before it takes the place
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    write_atomically(tmp_path / "new/file", b"new")
    assert (tmp_path / "new/file").read_bytes() == b"new" and names(tmp_path / "new") == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_in_place_of_a_config_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(BadInput, match="it is a pipe or a device"), opened(tmp_path):
        pass


def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path):
    """torch.load alone misses nearly all of them."""
    with opened(tmp_path) as run:
        run.save({"w": torch.randn(300), "step": 1}, 1)
        path = run.checkpoints()[0]
    content, chance, noticed = path.read_bytes(), random.Random(0), 0
    sound = torch.load(path, weights_only=True)
    for _ in range(300):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        try:
            state = read_state(path)
        except Exception:
            noticed += 1
        else:  # a bit of the padding between the members
            assert torch.equal(state["w"], sound["w"]) and state["step"] == 1
    assert noticed > 200
