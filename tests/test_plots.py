"""Each figure carries the title it was given and the numbers it was given; how it looks, a person has to judge."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers import plots

TRAINING = {"train_loss": [2.0, 1.0], "train_accuracy": [20.0, 60.0], "lr": [0.1, 0.0]}
HOLD_OUT = {"val_loss": [2.1, 1.2], "val_accuracy": [25.0, 55.0]}
TABLE = pd.DataFrame({**TRAINING, **HOLD_OUT}, index=pd.Index([1, 2], name="epoch"))
RATES = pd.DataFrame({"accuracy": [80.0, 90.0], "low": [70.0, 85.0], "high": [85.0, 92.0]}, index=["a", "b"])
IMAGES = np.zeros((5, 32, 32, 3), np.uint8)
WINDOWS = {"one": 3, "two": 40, "three": 71}
FIGURES = {
    "image_grid": lambda t: plots.image_grid(IMAGES, 3, t, captions=list("abcde"), row_labels=["x", "y"]),
    "channel_histograms": lambda t: plots.channel_histograms(IMAGES, t),
    "visualise": lambda t: plots.visualise(IMAGES, [IMAGES, IMAGES], t),
    "receptive_field_growth": lambda t: plots.receptive_field_growth(
        {"net": pd.DataFrame({"rf": [3, 5, 9], "unproductive": [False, False, True]})}, t, limit=44
    ),
    "sees_and_uses": lambda t: plots.sees_and_uses(
        pd.DataFrame({"theoretical": [30, 91], "effective": [20.5, 40.1]}, index=["a", "b"]), t
    ),
    "receptive_field_on_image": lambda t: plots.receptive_field_on_image(IMAGES[0], WINDOWS, t, (0.5, 0.5, 0.5)),
    "heat_maps": lambda t: plots.heat_maps({"a": np.eye(4), "b": np.eye(4)}, t, "share", (1.5, 2)),
    "training_curves": lambda t: plots.training_curves(TABLE, t),
    "curves": lambda t: plots.curves({"a": pd.Series([0.1, 0.2]), "b": pd.Series([0.3])}, t, "step", "rate"),
    "panels": lambda t: plots.panels(
        {name: pd.DataFrame({"a": [1, 2], "b": [2, 3]}) for name in "xyz"}, 2, t, "step", "loss"
    ),
    "differences": lambda t: plots.differences(
        pd.DataFrame({"mean": [1.0, -2.0], "low": [0.5, -3.0], "high": [1.5, np.nan]}, index=["a", "b"]), t
    ),
    "cost_and_accuracy": lambda t: plots.cost_and_accuracy(
        pd.DataFrame({"time": [1.0, 1.5], "accuracy": [50, 60], "std": [1, 2]}, index=["a", "b"]), t
    ),
    "class_accuracy": lambda t: plots.class_accuracy(RATES, t),
    "confusion": lambda t: plots.confusion(np.array([[3, 1], [0, 4]]), ["a", "b"], t),
    "scatter": lambda t: plots.scatter(np.eye(2), np.array([0, 1]), ["a", "b"], t),
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


def test_a_window_shows_as_many_pixels_as_it_is_wide():
    panels = FIGURES["receptive_field_on_image"]("t").axes
    assert [panel.get_visible() for panel in panels] == [True, True, True, False]
    for panel, size in zip(panels, WINDOWS.values(), strict=False):
        (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
        assert right - left == bottom - top == size and left + right == top + bottom == 31


def test_the_last_level_of_a_histogram_is_one_level():
    images = np.full((1, 2, 2, 3), 254, np.uint8)
    images[0, 0, 0] = 255
    (red, _, _) = (line for line in plots.channel_histograms(images, "t").axes[0].lines if len(line.get_xdata()) == 256)
    assert red.get_ydata()[-2:].tolist() == [75, 25]


def test_panels_draw_a_table_each_and_leave_no_empty_one():
    axes = FIGURES["panels"]("t").axes
    assert [axis.get_title(loc="left") for axis in axes] == ["x", "y", "z"]
    assert [line.get_ydata().tolist() for line in axes[2].lines] == [[1, 2], [2, 3]]


def test_differences_are_drawn_with_their_intervals():
    line, (left, right), (bars,) = FIGURES["differences"]("t").axes[0].containers[0]
    assert list(line.get_xdata()) == [1.0, -2.0]
    assert left.get_xdata().tolist() == [0.5, -3.0] and right.get_xdata().tolist()[0] == 1.5


def test_class_accuracy_has_its_intervals_or_does_without():
    (bars,) = [drawn for drawn in FIGURES["class_accuracy"]("t").axes[0].containers if hasattr(drawn, "lines")]
    ends = [segment[:, 0].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [[85.0, 92.0], [70.0, 85.0]]  # the best first
    assert not [c for c in plots.class_accuracy(RATES[["accuracy"]], "t").axes[0].containers if hasattr(c, "lines")]


def test_the_confusion_figure_shows_the_mistakes_alone():
    axis = FIGURES["confusion"]("t").axes[0]
    assert [text.get_text() for text in axis.texts] == ["25", "0"]
    assert axis.get_xlabel() == "predicted" and axis.get_ylabel() == "true"


def test_training_curves_show_the_gap():
    gap = FIGURES["training_curves"]("t").axes[2].lines[0]
    assert gap.get_ydata().tolist() == [-5.0, 5.0]


def test_training_curves_do_without_a_hold_out():
    loss, _, gap, _ = plots.training_curves(TABLE[list(TRAINING)], "t").axes
    assert [line.get_label() for line in loss.lines] == ["training (augmented)"] and not gap.lines
    both = FIGURES["training_curves"]("t").axes[1].lines
    assert [(line.get_label(), *line.get_ydata()) for line in both] == [
        ("training (augmented)", 20.0, 60.0),
        ("hold-out", 25.0, 55.0),
    ]


def test_unproductive_layers_are_drawn_hollow():
    filled, hollow = FIGURES["receptive_field_growth"]("t").axes[0].lines[1:3]
    assert list(filled.get_xdata()) == [1, 2] and list(hollow.get_xdata()) == [3]
    assert hollow.get_markerfacecolor() == "white"


def test_save_makes_the_folder(tmp_path):
    plots.save(FIGURES["curves"]("t"), tmp_path / "images" / "figure.png")
    assert (tmp_path / "images" / "figure.png").read_bytes()[:4] == b"\x89PNG"


BARS = [(1.0, 60.0), (1.01, 60.1), (1.2, 60.0), (3.0, 50.0)]  # points that lie close, and one that does not


def test_names_of_points_lie_on_no_other_name_point_or_bar():
    table = pd.DataFrame(BARS, ["a long name", "another name", "c", "d"], ["time", "accuracy"]).assign(std=1.0)
    figure = plots.cost_and_accuracy(table, "t")
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(name) for name in figure.axes[0].texts]  # without its line
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    bars = [figure.axes[0].transData.transform([(x, y + side) for side in (-1, 0, 1)]) for x, y in BARS]
    assert not any(box.count_contains(bar) for box in boxes for bar in bars)


def test_a_name_does_not_lie_on_the_line_of_another():
    """The places of published networks in notebook 05, where one line went through another name."""
    points = [(170, 93.55), (176.1, 93.57), (190, 93.39), (193.6, 92.37), (80, 92.07), (2033, 85.5)]
    names = [f"a name of published length {i}" for i in range(len(points))]
    table = pd.DataFrame(points, names, ["time", "accuracy"]).assign(std=0.0)
    figure = plots.cost_and_accuracy(table, "t", scale="log")
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    lines = [text.arrow_patch.get_path().vertices for text in texts]
    for text in texts:
        others = [line for other, line in zip(texts, lines, strict=True) if other is not text]
        along = np.concatenate([np.linspace(line[0], line[-1], 50) for line in others])
        assert not Text.get_window_extent(text).count_contains(along)
