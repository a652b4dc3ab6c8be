"""Each figure carries the title it was given and the numbers it was given; how it looks, a person has to judge."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from helpers import plots

TABLE = pd.DataFrame(
    {"train_loss": [2.0, 1.0], "val_loss": [2.1, 1.2], "train_accuracy": [20.0, 60.0], "val_accuracy": [25.0, 55.0],
     "lr": [0.1, 0.0]}, index=pd.Index([1, 2], name="epoch"),
)  # fmt: skip
IMAGES = np.zeros((5, 32, 32, 3), np.uint8)
FIGURES = {
    "image_grid": lambda t: plots.image_grid(IMAGES, 3, t, captions=list("abcde"), row_labels=["x", "y"]),
    "class_balance": lambda t: plots.class_balance(pd.DataFrame({"training": [3, 3]}, index=["a", "b"]), t),
    "channel_histograms": lambda t: plots.channel_histograms(IMAGES, t),
    "receptive_field_growth": lambda t: plots.receptive_field_growth({"net": pd.DataFrame({"rf": [3, 5]})}, t),
    "receptive_field_on_image": lambda t: plots.receptive_field_on_image(IMAGES[0], {"one": 3, "two": 40}, t),
    "heat_maps": lambda t: plots.heat_maps({"a": np.eye(4), "b": np.eye(4)}, t, "share"),
    "training_curves": lambda t: plots.training_curves(TABLE, t),
    "schedule": lambda t: plots.schedule([0.1, 0.2, 0.1], t),
    "experiments": lambda t: plots.experiments(
        pd.DataFrame({"variant": ["a", "a", "b"], "seed": [0, 1, 0], "accuracy": [50.0, 52.0, 60.0]}), t
    ),
    "class_accuracy": lambda t: plots.class_accuracy(pd.DataFrame({"accuracy": [80.0, 90.0]}, index=["a", "b"]), t),
    "confusion": lambda t: plots.confusion(np.array([[3, 1], [0, 4]]), ["a", "b"], t),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_shows_its_title_and_is_closed(name):
    figure = FIGURES[name]("The finding")
    titles = [figure.get_suptitle(), *(axis.get_title(loc="left") for axis in figure.axes)]
    assert isinstance(figure, Figure) and "The finding" in titles
    assert plt.get_fignums() == []


def test_every_figure_of_the_module_is_tested():
    made = {name for name, value in vars(plots).items() if hasattr(value, "__wrapped__")}
    assert made == set(FIGURES)


def test_experiments_draw_runs_and_means():
    runs, means = FIGURES["experiments"]("t").axes[0].lines
    assert sorted(runs.get_xdata()) == [50.0, 52.0, 60.0] and list(means.get_xdata()) == [51.0, 60.0]


def test_save_makes_the_folder(tmp_path):
    plots.save(FIGURES["schedule"]("t"), tmp_path / "images" / "figure.png")
    assert (tmp_path / "images" / "figure.png").read_bytes()[:4] == b"\x89PNG"
