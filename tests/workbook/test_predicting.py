import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.engines.run_directory import WEIGHTS
from helpers.models import build
from helpers.models.weights import save_weights
from toy import run_command


def write_run(folder, *logits, **more):
    """Make a run folder whose network has these logits whatever it sees; `more` is added to the metadata."""
    model = build("wide_2m")
    torch.nn.init.zeros_(model.head[-1].weight)
    model.head[-1].bias.data = torch.tensor(logits)
    config = {"network": "wide_2m", "mean": [0.5] * 3, "std": [0.25] * 3, "source": "synthetic", "seed": 0}
    save_weights(Path(folder, WEIGHTS), model.state_dict(), {"config": config, "classes": tuple("abcdefghij"), **more})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run("unsure", 0.3, 0.2, 0.4, *[0.0] * 7)
    Image.new("RGB", (50, 40), "red").save("red.png")


def test_every_file_has_its_row_and_a_bad_one_hides_no_other(here, capsys):
    Path("text.png").write_text("I am no picture.")
    assert run_command("predict", "unsure", "red.png", "text.png", "absent.png", "red.png") == 1
    rows = capsys.readouterr().out.splitlines()
    doubt = "; no class reaches 60 %: a guess, and maybe none of the 10"
    assert rows[0] == f"red.png: c 13.5 %, a 12.2 %, b 11.0 %{doubt}"  # exp(0.4) / (exp(0.4) + … + 7), and so on
    assert rows[1].startswith("text.png is not a picture") and rows[2].startswith("There is no file absent.png")
    assert rows[3:] == rows[:1]


def test_where_the_network_is_sure_there_is_no_doubt(here, capsys):
    write_run("sure", *[0.0] * 8, 1.0, 5.0)
    assert run_command("predict", "sure", "red.png") == 0
    assert capsys.readouterr().out == "red.png: j 93.3 %, i 1.7 %, a 0.6 %\n"


def test_logits_are_divided_by_the_temperature_of_the_release(here, capsys):
    write_run("released", *[0.0] * 8, 2.0, 10.0, temperature=2.0)
    assert run_command("predict", "released", "red.png") == 0
    assert capsys.readouterr().out == "red.png: j 93.3 %, i 1.7 %, a 0.6 %\n"


def test_a_network_that_is_not_there_is_told_with_status_2(here, capsys):
    assert run_command("predict", "nowhere", "red.png") == 2
    assert "nowhere" in capsys.readouterr().err


def test_streams_that_take_little_give_no_traceback(here):
    """ASCII, names that are no UTF-8 or that a terminal would obey, a reader that goes early; no standard output."""
    strange = os.fsencode("é\x1b[31m\udcff.png")
    shutil.copy(b"red.png", strange)
    command = os.fsencode(shlex.join([sys.executable, "-m", "helpers.workbook", "predict", "unsure"])) + b" *.png"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for redirected in (50 * b" red.png" + b" | head -2", b" >&-"):
        done = subprocess.run(command + redirected, shell=True, env=environment, capture_output=True)
        assert done.stderr == b"" and done.returncode == 0
        if b"head" in redirected:
            assert done.stdout.splitlines()[1].startswith(rb"\xe9\x1b[31m\udcff.png: c 13.5 %")
