"""One function, one figure: arrays and tables in, a matplotlib Figure out, titled by the caller with the finding."""

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

CHANNEL_COLOURS = ("#c0392b", "#27ae60", "#2c5fb3")
DASHED = {"color": "black", "linestyle": "--", "linewidth": 1.2}


def _figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in one style and close the figure, so that a notebook shows it once, as the value of its cell."""

    @wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        style = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=1.15)
        style |= {"figure.constrained_layout.use": True, "axes.titlelocation": "left"}
        with plt.rc_context(style | {"figure.dpi": 90, "savefig.dpi": 90}):
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # lays the figure out while the style holds
        plt.close(figure)
        return figure

    return styled


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


@_figure
def image_grid(
    images: Sequence[np.ndarray],
    columns: int,
    title: str,
    captions: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    side: float = 0.9,
) -> Figure:
    """Draw images (H, W, 3), uint8 or float in [0, 1], row by row; `side` is each one's size in inches."""
    rows = -(-len(images) // columns)
    width, height = side * 1.05, side * (1.35 if captions else 1.05)
    size = columns * width + (1.3 if row_labels else 0), rows * height + 0.7
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        sns.despine(ax=axis, left=True, bottom=True)
    for axis, image in zip(axes.flat, images, strict=False):
        axis.imshow(image, interpolation="nearest")
    for axis, caption in zip(axes.flat, captions, strict=False):
        axis.set_title(caption, fontsize=10, loc="center")
    for axis, label in zip(axes[:, 0], row_labels, strict=False):
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_figure
def class_balance(counts: pd.DataFrame, title: str) -> Figure:
    """Draw images per class (rows) in each split (columns)."""
    figure, axis = plt.subplots(figsize=(8, 4))
    counts.plot.barh(ax=axis, width=0.8, legend=False, color=["#34495e", "#95a5a6", "#d9a441"][: counts.shape[1]])
    axis.invert_yaxis()
    axis.set(xlabel="images", ylabel="", title=title)
    figure.legend(loc="outside lower right", ncols=counts.shape[1])  # clear of the bars
    axis.grid(axis="y", visible=False)
    return figure


@_figure
def channel_histograms(images: np.ndarray, title: str) -> Figure:
    """Draw the share of pixels at each of 64 brightnesses, a curve per channel, with its mean dashed."""
    figure, axis = plt.subplots(figsize=(8, 3.8))
    for channel, (name, colour) in enumerate(zip(("red", "green", "blue"), CHANNEL_COLOURS, strict=True)):
        values = images[..., channel].ravel()
        share = np.bincount(values // 4, minlength=64) / len(values) * 100
        axis.stairs(share, np.linspace(0, 1, 65), baseline=None, color=colour, label=name, linewidth=2)
        axis.axvline(values.mean() / 255, color=colour, linestyle="--", linewidth=1.2)
    axis.set(xlabel="brightness, 0 to 1 (means dashed)", ylabel="pixels, %", title=title, xlim=(0, 1.01))
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower center")
    return figure


@_figure
def visualise(images: Sequence[np.ndarray], draws: Sequence[Sequence[np.ndarray]], title: str) -> Figure:
    """Draw images (H, W, 3) in a row and below them, a row each, what an augmentation made of them."""
    rows = ["original", *(f"draw {n}" for n in range(1, len(draws) + 1))]
    return image_grid(np.concatenate([images, *draws]), len(images), title, row_labels=rows, side=0.7)


@_figure
def receptive_field_growth(tables: dict[str, pd.DataFrame], title: str, limit: int | None = None) -> Figure:
    """Draw the receptive field after each layer of each table, and the image's side.

    Where a table has a column `unproductive`, a layer marked there is drawn hollow. `limit` is a line to be above.
    """
    figure, axis = plt.subplots(figsize=(9, 4.6))
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
    axis.set(xlabel="convolution or pooling layer", ylabel="receptive field, pixels", title=title, ylim=(0, None))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend()
    return figure


@_figure
def sees_and_uses(table: pd.DataFrame, title: str) -> Figure:
    """Draw for each network (row) what it could see and what it uses: columns theoretical and effective, in pixels."""
    figure, axis = plt.subplots(figsize=(8, 0.6 * len(table) + 1.6))
    axis.barh(table.index, table.theoretical, color="#bdc9e1", label="theoretical receptive field")
    axis.barh(table.index, table.effective, height=0.4, color="#2c5fb3", label="effective diameter")
    axis.axvline(32, **DASHED, label="image side, 32 px")
    axis.set(xlabel="pixels", title=title)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside lower right", ncols=3)
    return figure


@_figure
def receptive_field_on_image(image: np.ndarray, sizes: dict[str, int], title: str) -> Figure:
    """Draw squares of these sizes in pixels around the centre of the image."""
    figure, axis = plt.subplots(figsize=(8, 6))
    height, width = image.shape[:2]
    axis.imshow(image, interpolation="nearest")
    for (name, size), colour in zip(sizes.items(), sns.color_palette("bright"), strict=False):
        corner = (width - 1 - size) / 2, (height - 1 - size) / 2
        drawn = {"fill": False, "linewidth": 2.5, "color": colour, "label": f"{name}: {size}"}
        axis.add_patch(plt.Rectangle(corner, size, size, **drawn))
    reach = max([width, height, *sizes.values()]) / 2 + 2
    axis.set(xlim=(width / 2 - reach, width / 2 + reach), ylim=(height / 2 + reach, height / 2 - reach))
    axis.set(xlabel="pixels", ylabel="pixels", title=title)
    axis.grid(visible=False)
    axis.legend(title="receptive field, px", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@_figure
def heat_maps(maps: dict[str, np.ndarray], title: str, label: str) -> Figure:
    """Draw arrays (H, W) side by side, each scaled to its own largest value."""
    figure, axes = plt.subplots(1, len(maps), figsize=(3.6 * len(maps) + 0.6, 4.1), squeeze=False)
    for axis, (name, values) in zip(axes.flat, maps.items(), strict=True):
        drawn = axis.imshow(values / values.max(), cmap="magma", interpolation="nearest", vmin=0, vmax=1)
        axis.set_title(name, fontsize=12)
        axis.set_xlabel("pixels")
        axis.grid(visible=False)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_figure
def training_curves(table: pd.DataFrame, title: str) -> Figure:
    """Draw loss, accuracy, their gap and the learning rate of a History table over its epochs."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7))
    axes = axes.flat
    for axis, kind, label in ((axes[0], "loss", "cross-entropy, nats"), (axes[1], "accuracy", "accuracy, %")):
        for part, name in (("train", "training (augmented)"), ("val", "hold-out")):
            if f"{part}_{kind}" in table:
                axis.plot(table.index, table[f"{part}_{kind}"], marker="o", label=name)
        axis.set(xlabel="epoch", ylabel=label)
        axis.legend()
    if "val_accuracy" in table:
        axes[2].plot(table.index, table.train_accuracy - table.val_accuracy, marker="o", color="#8e44ad")
        axes[2].axhline(0, **DASHED)
    axes[2].set(xlabel="epoch", ylabel="training minus hold-out, points")
    axes[3].plot(table.index, table.lr, marker="o", color="#7f8c8d")
    axes[3].set(xlabel="epoch", ylabel="learning rate at its end")
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_figure
def schedule(rates: Sequence[float], title: str) -> Figure:
    """Draw the learning rate of every step."""
    figure, axis = plt.subplots(figsize=(8, 3.2))
    axis.plot(np.arange(1, len(rates) + 1), rates, linewidth=2)
    axis.set(xlabel="step", ylabel="learning rate", title=title)
    return figure


@_figure
def differences(table: pd.DataFrame, title: str) -> Figure:
    """Draw each variant's (row's) difference from the base with its interval: columns mean, low and high, in points."""
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(table) + 1.8))
    sides = np.array([table["mean"] - table.low, table.high - table["mean"]])
    axis.errorbar(table["mean"], table.index, xerr=sides, fmt="o", color="#2c5fb3", capsize=4, linewidth=2)
    axis.axvline(0, **DASHED)
    axis.invert_yaxis()
    axis.set(xlabel="accuracy on the hold-out minus the base's, points", title=title)
    return figure


@_figure
def cost_and_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw each variant (row) at its cost: columns time (base = 1), accuracy (percent) and its std (points)."""
    figure, axis = plt.subplots(figsize=(8.4, 5))
    for (name, row), marker in zip(table.iterrows(), cycle("os^Dv<>pP*X")):  # variants lie too close for names
        axis.errorbar(row.time, row.accuracy, row["std"], fmt=marker, markersize=8, capsize=3, alpha=0.8, label=name)
    figure.legend(loc="outside right center")
    axis.set(xlabel="training time for an image, base = 1", ylabel="accuracy on the hold-out, %", title=title)
    return figure


@_figure
def class_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw each class's accuracy in percent, the best first, and the mean as a line."""
    table = table.sort_values("accuracy", ascending=False)
    figure, axis = plt.subplots(figsize=(8, 4.4))
    bars = axis.barh(table.index, table.accuracy, color="#2c5fb3")
    axis.bar_label(bars, fmt="%.1f", label_type="center", color="white")  # clear of the line of the mean
    axis.axvline(table.accuracy.mean(), **DASHED, label="mean of the classes")
    axis.invert_yaxis()
    axis.set(xlabel="correct of all of the class, %", title=title, xlim=(0, 100))
    figure.legend(loc="outside lower right")
    axis.grid(axis="y", visible=False)
    return figure


@_figure
def confusion(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw the confusion matrix in percent of each true class; correct ones on the diagonal."""
    figure, axis = plt.subplots(figsize=(8.4, 7))
    percent = 100 * matrix / matrix.sum(1, keepdims=True)
    sns.heatmap(
        percent, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, square=True, ax=axis,
        xticklabels=classes, yticklabels=classes, cbar_kws={"label": "% of the true class", "shrink": 0.8},
    )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true", title=title)
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right")
    return figure
