"""One function, one figure: arrays and tables in, a matplotlib Figure out, titled by the caller with the finding."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import LogLocator
from matplotlib.transforms import Bbox

from helpers.engines.drawing import lay_out_bars, one_axis, styled

Images = Sequence[np.ndarray]  # each (H, W, 3), uint8 or float in [0, 1]
Names = Sequence[str]

CHANNEL_COLOURS = {"red": "#c0392b", "green": "#27ae60", "blue": "#2c5fb3"}
DASHED = {"color": "black", "linestyle": "--", "linewidth": 1.2}


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


@styled
def image_grid(
    images: Images, columns: int, title: str, captions: Names = (), row_labels: Names = (), side: float = 0.9
) -> Figure:
    """Draw images row by row; `side` is each one's size in inches."""
    rows = -(-len(images) // columns)
    width, height = side * 1.05, side * (1.35 if captions else 1.05)
    size = columns * width + (1.3 if row_labels else 0), rows * height + 0.7
    bare = {"xticks": [], "yticks": [], "frame_on": False}
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, subplot_kw=bare)
    for axis, image in zip(axes.flat, images, strict=False):
        axis.imshow(image)
    for axis, caption in zip(axes.flat, captions, strict=False):
        axis.set_title(caption, fontsize=10, loc="center")
    for axis, label in zip(axes[:, 0], row_labels, strict=False):
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def channel_histograms(images: np.ndarray, title: str) -> Figure:
    """Draw the share of pixels at each of the 256 levels, a curve per channel, with its mean dashed."""
    axis = one_axis((8, 4.2), title, "level, 0 to 255 (means dashed)", "pixels, %")
    for channel, (name, colour) in enumerate(CHANNEL_COLOURS.items()):
        values = images[..., channel].ravel()
        share = np.bincount(values, minlength=256) / len(values) * 100
        axis.plot(share, color=colour, label=name, linewidth=1.8)
        axis.axvline(values.mean(), color=colour, linestyle="--", linewidth=1.2)
    axis.set(xlim=(-2, 257), ylim=(0, None))
    axis.legend(loc="upper center")
    return axis.figure


@styled
def visualise(images: Images, draws: Sequence[Images], title: str) -> Figure:
    """Draw images in a row and below them, a row each, what an augmentation made of them."""
    rows = ["original", *(f"draw {n}" for n in range(1, len(draws) + 1))]
    return image_grid(np.concatenate([images, *draws]), len(images), title, row_labels=rows, side=1.2)


@styled
def receptive_field_growth(tables: dict[str, pd.DataFrame], title: str, limit: int | None = None) -> Figure:
    """Draw the receptive field after each layer of each table, and the image's side.

    Where a table has a column `unproductive`, a layer marked there is drawn hollow. `limit` is a line to be above.
    """
    axis = one_axis((9, 4.6), title, "convolution or pooling layer", "receptive field, pixels")
    for name, table in tables.items():
        place = np.arange(1, len(table) + 1)
        (line,) = axis.step(place, table.rf, where="mid", linewidth=2, label=name)
        hollow = table.get("unproductive", pd.Series(False, table.index)).to_numpy(bool)
        axis.plot(place[~hollow], table.rf[~hollow], "o", color=line.get_color())
        axis.plot(place[hollow], table.rf[hollow], "o", color=line.get_color(), markerfacecolor="white")
    if any("unproductive" in table for table in tables.values()):
        axis.plot([], [], "o", color="grey", markerfacecolor="white", label="its input sees the image")
    axis.axhline(32, **DASHED, label="image side, 32 px")
    if limit is not None:
        axis.axhline(limit, color="black", linestyle=":", linewidth=1.5, label=f"the challenge's {limit} px")
    axis.set_ylim(bottom=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.figure.legend(loc="outside lower center", ncols=3)
    return axis.figure


@styled
def sees_and_uses(table: pd.DataFrame, title: str) -> Figure:
    """Draw for each network (row) what it could see and what it uses: columns theoretical and effective, in pixels."""
    axis = one_axis((8, 0.6 * len(table) + 1.6), title, "pixels")
    axis.barh(table.index, table.theoretical, color="#bdc9e1", label="theoretical receptive field")
    axis.barh(table.index, table.effective, height=0.4, color="#2c5fb3", label="effective diameter")
    axis.axvline(32, **DASHED, label="image side, 32 px")
    lay_out_bars(axis, legend_columns=3)
    return axis.figure


@styled
def receptive_field_on_image(image: np.ndarray, sizes: dict[str, int], title: str, beyond: Sequence[float]) -> Figure:
    """Draw for each size what a square window of it in pixels shows around the image's centre.

    `beyond` is the colour of what lies outside the image, values in [0, 1].
    """
    columns, rows = min(len(sizes), 2), -(-len(sizes) // 2)
    bare = {"xticks": [], "yticks": [], "facecolor": tuple(beyond)}
    figure, axes = plt.subplots(rows, columns, figsize=(7.4, 3.9 * rows + 0.4), squeeze=False, subplot_kw=bare)
    middle = (np.array(image.shape[:2]) - 1) / 2
    for axis, (name, size) in zip(axes.flat, sizes.items(), strict=False):
        axis.imshow(image)
        axis.set(xlim=middle[1] + np.array([-size, size]) / 2, ylim=middle[0] + np.array([size, -size]) / 2)
        axis.set_title(f"{name}: {size} px", fontsize=14)
    for axis in axes.flat[len(sizes) :]:
        axis.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def heat_maps(maps: dict[str, np.ndarray], title: str, label: str, centre: tuple[float, float] | None = None) -> Figure:
    """Draw arrays (H, W) side by side, each scaled to its own largest value; `centre` (row, column) gets a cross."""
    size = 3.6 * len(maps) + 0.6, 4.1
    figure, axes = plt.subplots(1, len(maps), figsize=size, squeeze=False, subplot_kw={"xlabel": "pixels"})
    for axis, (name, values) in zip(axes.flat, maps.items(), strict=True):
        drawn = axis.imshow(values / values.max(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(name, fontsize=14)
        axis.grid(visible=False)
        if centre is not None:
            axis.plot(centre[1], centre[0], "+", color="#2c5fb3", markersize=18, markeredgewidth=3)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def training_curves(table: pd.DataFrame, title: str) -> Figure:
    """Draw loss, accuracy, their gap and the learning rate of a History table over its epochs."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), subplot_kw={"xlabel": "epoch"})
    loss, accuracy, gap, rate = axes.flat
    for axis, kind, label in ((loss, "loss", "cross-entropy, nats"), (accuracy, "accuracy", "accuracy, %")):
        curves = table.filter([f"train_{kind}", f"val_{kind}"])  # one where there is no hold-out
        axis.plot(table.index, curves, marker="o", label=["training (augmented)", "hold-out"][: curves.shape[1]])
        axis.set_ylabel(label)
        axis.legend()
    if "val_accuracy" in table:
        gap.plot(table.index, table.train_accuracy - table.val_accuracy, marker="o", color="#8e44ad")
        gap.axhline(0, **DASHED)
    gap.set_ylabel("training minus hold-out, points")
    rate.plot(table.index, table.lr, marker="o", color="#7f8c8d")
    rate.set_ylabel("learning rate at its end")
    for axis in axes.flat:
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def curves(of: dict[str, pd.Series], title: str, across: str, up: str) -> Figure:
    """Draw each series over its index, named where there are several; `across` and `up` name the axes."""
    axis = one_axis((8, 3.2) if len(of) == 1 else (9, 4.6), title, across, up)
    for name, series in of.items():
        axis.plot(series.index, series, linewidth=2, label=name)
    if len(of) > 1:
        axis.figure.legend(loc="outside right center")
    return axis.figure


@styled
def panels(tables: dict[str, pd.DataFrame], columns: int, title: str, across: str, up: str) -> Figure:
    """Draw each table in a panel of its own, a line for each column; panels in a row share the upright axis."""
    rows, lines = -(-len(tables) // columns), tables[next(iter(tables))].columns
    size, colours = (2.8 * columns + 1.6, 2 * rows + 0.9), sns.color_palette("viridis_r", len(lines))
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey="row", squeeze=False)
    for axis, (name, table) in zip(axes.flat, tables.items(), strict=False):
        table.plot(ax=axis, title=name, color=colours, legend=False)
    figure.legend(axis.get_lines(), lines, loc="outside right center")
    for axis in axes.flat[len(tables) :]:
        axis.remove()
    figure.suptitle(title, x=0.01, ha="left")
    figure.supxlabel(across)
    figure.supylabel(up)
    return figure


@styled
def differences(table: pd.DataFrame, title: str) -> Figure:
    """Draw each variant's (row's) difference from the base with its interval: columns mean, low and high, in points."""
    table = table.sort_values("mean", ascending=False)
    axis = one_axis((8, 0.42 * len(table) + 1.8), title, "accuracy on the hold-out minus the base's, points")
    sides = np.array([table["mean"] - table.low, table.high - table["mean"]])
    axis.errorbar(table["mean"], table.index, xerr=sides, fmt="o", color="#2c5fb3", capsize=4, linewidth=2)
    axis.axvline(0, **DASHED)
    axis.invert_yaxis()
    return axis.figure


@styled
def cost_and_accuracy(
    table: pd.DataFrame, title: str, cost: str = "time", across: str = "training time for an image, base = 1",
    of: str = "hold-out", scale: str = "linear",
) -> Figure:  # fmt: skip
    """Draw each row at its cost, a column of the table: columns accuracy (percent) and std (points)."""
    table = table.sort_values("accuracy", ascending=False)
    axis = one_axis((9, 5), title, across, f"accuracy on the {of}, %")
    axis.errorbar(table[cost], table.accuracy, table["std"], fmt="o", color="#2c5fb3", markersize=7, capsize=3)
    axis.set_xscale(scale)
    if scale == "log":
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.xaxis.set_minor_formatter("")
    axis.margins(x=0.25, y=0.15)
    name_points(axis, table[cost], table.accuracy, table["std"])
    return axis.figure


def name_points(axis: Axes, across: pd.Series, up: pd.Series, bars: pd.Series) -> None:
    """Write each point's name (index) beside it, the first ones first, where no point, bar or other name is."""
    axis.figure.draw_without_rendering()  # fixes the axes' limits, and so where points lie
    ends = (axis.transData.transform(np.column_stack([across, up + reach])) for reach in (-bars, bars))
    taken = [Bbox(bar).padded(6) for bar in zip(*ends, strict=True)]
    for name, x, y in zip(across.index, across, up, strict=True):
        style = {"va": "center", "fontsize": 10, "arrowprops": {"arrowstyle": "-", "color": "grey", "linewidth": 0.6}}
        text = axis.annotate(name, (x, y), (0, 0), textcoords="offset points", **style)
        tried = {place: _meets(text, taken, *place) for place in product((0, -13, 13, -26, 26, -39, 39), (9, -9))}
        _meets(text, taken, *min(tried, key=tried.get))
        taken.append(text.get_window_extent())


def _meets(text: Annotation, taken: list[Bbox], height: float, side: float) -> int:
    """Put the text beside its point, so far up and aside (1/72 inch); return how much it meets there."""
    text.xyann = side, height
    text.set_horizontalalignment("left" if side > 0 else "right")
    text.update_positions(text.figure.canvas.get_renderer())
    box, line_too = Text.get_window_extent(text), text.get_window_extent()  # a name on a line is better than on a name
    outside = not (text.axes.bbox.contains(*box.min) and text.axes.bbox.contains(*box.max))
    return 9 * (box.count_overlaps(taken) + outside) + line_too.count_overlaps(taken)


@styled
def class_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw each class's accuracy in percent, the best first, its interval (low, high) where given, and the mean."""
    table = table.sort_values("accuracy", ascending=False)
    axis = one_axis((8, 4.4), title, "correct of all of the class, %")
    sides = np.array([table.accuracy - table.low, table.high - table.accuracy]) if "low" in table else None
    bars = axis.barh(table.index, table.accuracy, xerr=sides, capsize=4, ecolor="#d98c21", color="#2c5fb3")
    axis.bar_label(bars, fmt="%.1f", label_type="center", color="white")  # clear of the line of the mean
    axis.axvline(table.accuracy.mean(), **DASHED, label="mean of the classes")
    axis.set_xlim(0, 100)
    lay_out_bars(axis)
    return axis.figure


@styled
def confusion(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw the mistakes of a confusion matrix in percent of each true class; the diagonal, which is right, is blank."""
    axis, names = one_axis((8, 6.4), title), [pd.Index(classes, name=name) for name in ("true", "predicted")]
    shares = pd.DataFrame(100 * matrix / matrix.sum(1, keepdims=True), *names)
    bar = {"label": "% of the true class", "shrink": 0.8}
    sns.heatmap(
        shares, mask=np.eye(len(matrix)), annot=True, fmt=".0f", cmap="Blues", square=True, ax=axis, cbar_kws=bar
    )
    axis.grid(visible=False)
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right")
    return axis.figure


@styled
def scatter(points: np.ndarray, labels: np.ndarray, classes: Names, title: str) -> Figure:
    """Draw points (N, 2), those of a class in one colour."""
    axis = one_axis((8, 4.8), title, "first direction", "second direction")
    for number, (name, colour) in enumerate(zip(classes, sns.color_palette("tab10", len(classes)), strict=True)):
        axis.plot(*points[labels == number].T, ".", color=colour, label=name)
    axis.figure.legend(loc="outside right center", markerscale=2)
    return axis.figure
