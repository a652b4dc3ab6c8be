"""The ideas drawn by code: what a layer or a block does, on a few cells, and a network from its layer table."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

BLUE, ORANGE, GREEN, PURPLE, GREY, PALE = "#2c5fb3", "#d9822b", "#2e8b57", "#8e44ad", "#9aa3ad", "#e6eaf0"
KINDS = {"all channels": BLUE, "dilated": PURPLE, "each channel alone": GREEN, "1x1": ORANGE, "pooling": GREY}
TEXT = {"fontsize": 13, "ha": "center", "va": "center"}  # large enough for a phone
ARROW = {"arrowstyle": "-|>", "linewidth": 2, "color": "#444444"}


def convolution(stride: int = 1, dilation: int = 1) -> Figure:
    """Draw a 3x3 kernel at two neighbouring places of 7x7 inputs, and the two outputs that it makes there."""
    span, side = 2 * dilation + 1, (6 - 2 * dilation) // stride + 1
    title = "A convolution: the same 9 weights at every place"
    if stride > 1:
        title = f"Stride {stride}: the kernel moves on by {stride}"
    if dilation > 1:
        title = f"Dilation {dilation}: 9 weights span {span}x{span} inputs"
    axis = _canvas(title, f"Orange: the next output looks {stride} to the right", 14, 7.7)
    right, low = 14 - side, 3.5 - side / 2
    for x, y, count, what in ((0, 0, 7, "inputs"), (right, low, side, "outputs")):
        _cells(axis, x, y, count, PALE)
        axis.text(x + count / 2, y + count + 0.4, f"{count}x{count} {what}", **TEXT)
    for place, (colour, size) in enumerate(((BLUE, 0.8), (ORANGE, 0.5))):
        x, y, up = place * stride, 7 - span, low + side - 1
        _cells(axis, x + (1 - size) / 2, y + (1 - size) / 2, 3, colour, size, dilation, alpha=0.75)
        axis.add_patch(Rectangle((x, y), span, span, fill=False, edgecolor=colour, linewidth=2.5))
        _cells(axis, right + place, up, 1, colour)
        axis.plot((x + span, right + place), ((y, y + span), (up, up + 1)), color=colour, linewidth=1.2)
    return axis.figure


def separable() -> Figure:
    """Draw a depthwise-separable convolution of four channels into six, and count its weights."""
    axis = _canvas("Depthwise-separable: first look, then mix", "4·9 + 4·6 = 60 weights, not 4·6·9 = 216", 10, 7.4)
    axis.text(2.8, 6.9, "a 3x3 kernel for\neach channel", **TEXT)
    axis.text(7.2, 6.9, "1x1: each output\nmixes all four", **TEXT)
    for y, colour in zip((5.5, 3.85, 2.2, 0.55), (BLUE, ORANGE, GREEN, PURPLE), strict=True):
        for x, count, size in ((0, 1, 1.2), (2.2, 3, 0.4), (4.4, 1, 1.2)):
            _cells(axis, x, y - 0.6, count, colour, size, size, alpha=1 if count == 1 else 0.45)
        for x in (1.25, 3.45):
            axis.annotate("", (x + 0.9, y), (x, y), arrowprops=ARROW | {"color": colour})
        for up in np.linspace(0.35, 5.7, 6):
            axis.plot((5.65, 8.9), (y, up), color=colour, linewidth=1.2)
            _cells(axis, 8.9, up - 0.4, 1, GREY, 0.8)
    return axis.figure


def residual(inverted: bool = False) -> Figure:
    """Draw a residual block, or an inverted one: maps as high as they have channels, and the input that is added."""
    title, note = "Residual: the layers learn what to add", "The way round brings the gradient straight back."
    channels, layers = [64, 64, 64], ["3x3, norm,\nReLU"] * 2
    if inverted:
        title, note = "Inverted residual: narrow, wide, narrow", "It is wide where a channel costs nine weights only."
        channels, layers = [24, 72, 72, 24], ["1x1,\nReLU", "3x3 each,\nReLU", "1x1"]
    last, unit = 2.6 * len(channels) - 2.3, 3 / max(channels)
    axis = _canvas(title, note, last + 2, 4.9)
    for place, (count, text) in enumerate(zip(channels, [*layers, ""], strict=True)):
        x, half, colour = 2.6 * place + 0.3, count * unit / 2, BLUE if count == channels[0] else GREEN
        axis.add_patch(Rectangle((x - 0.2, 2 - half), 0.4, 2 * half, color=colour))
        axis.text(x, 1.7 - half, f"{count}", **TEXT)
        axis.annotate("", (x + (2.3 if x < last - 1 else 1.1), 2), (x + 0.25, 2), arrowprops=ARROW)
        axis.text(x + 1.3, 2.55, text, **TEXT)
    axis.plot((0.3, 0.3, last + 1.5), (2 + channels[0] * unit / 2, 4.1, 4.1), linewidth=2, color=ARROW["color"])
    axis.annotate("", (last + 1.5, 2.4), (last + 1.5, 4.15), arrowprops=ARROW)
    axis.text(last / 2 + 0.9, 4.45, "the input itself", **TEXT)
    axis.text(last + 1.5, 2, "+", **TEXT | {"fontsize": 20}, bbox={"boxstyle": "circle", "fc": "white"})
    return axis.figure


def batch_norm() -> Figure:
    """Draw how often three channels take each value, drawn at random, before and after batch normalisation."""
    values = np.random.default_rng(0).normal((-4, 1, 5), (1.6, 0.7, 2.4), (20_000, 3))
    figure, axes = plt.subplots(2, 1, figsize=(6.6, 5), dpi=100, sharex=True, layout="constrained")
    plt.close(figure)
    normalised = (values - values.mean(axis=0)) / values.std(axis=0)
    for axis, drawn, text in zip(axes, (values, normalised), ("values before", "after: mean 0, spread 1"), strict=True):
        for unit, colour, style in zip(drawn.T, (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=True):
            axis.hist(unit, 80, range=(-10, 12), histtype="stepfilled", ec=colour, fc=(colour, 0.25), ls=style, lw=2)
        axis.set_title(text, fontsize=14, loc="left")
        axis.set(yticks=[], frame_on=False)
    axes[0].legend(["channel 1", "channel 2", "channel 3"], fontsize=13, frameon=False)
    figure.suptitle("Batch normalisation: one scale for all channels", fontsize=16, x=0.01, ha="left")
    return figure


def network(table: pd.DataFrame, title: str) -> Figure:
    """Draw a `layer_table`: a row a stage, a bar a layer (height: map, width: channels), and what a unit there sees."""
    head, side = table.kind.isin(["global pool", "flatten"]).to_numpy(), table.attrs["input_size"][1]
    maps = table[: head.argmax()] if head.any() else table
    tests = ~maps.kind.str.contains("Conv"), maps.kernel == 1, maps.dilation != 1, maps.groups > 1
    maps = maps.assign(drawn=np.select(tests, ["pooling", "1x1", "dilated", "each channel alone"], "all channels"))
    stages = [stage for _, stage in maps.groupby("jump", sort=False)]
    gap, largest = 0.15 * max(output[0] for output in maps.output), max(side, maps.rf.max())
    unit = 4.5 / max(sum(output[0] + gap for output in stage.output) for stage in stages)
    axis = _canvas(title, "", 7.4, len(stages))
    for y, stage in enumerate(reversed(stages)):
        y, x, rf = y + 0.5, 0.9, int(stage.rf.max())
        axis.text(0.35, y, "{1}x{2}\nmaps".format(*stage.output.iloc[-1]), **TEXT)
        for layer in stage.itertuples():
            width, high, edge = layer.output[0] * unit, 0.85 * layer.output[1] / side, 2 * (layer.stride != 1)
            axis.add_patch(Rectangle((x, y - high / 2), width, high, fc=KINDS[layer.drawn], ec="black", lw=edge))
            x += width + gap * unit
        for length, style in ((side / largest, {"color": GREY}), (rf / largest, {"fill": False, "linewidth": 2})):
            axis.add_patch(Rectangle((6 - 0.45 * length, y - 0.45 * length), 0.9 * length, 0.9 * length, **style))
        axis.text(6.98, y, f"sees\n{rf} px", **TEXT)
    handles = [Patch(color=colour, label=kind) for kind, colour in KINDS.items() if kind in set(maps.drawn)]
    handles += [Patch(fc="white", ec="black", lw=2, label="with a stride"), Patch(color=GREY, label="the image")]
    axis.figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=12, frameon=False)
    return axis.figure


def _canvas(title: str, note: str, wide: float, high: float) -> plt.Axes:
    """Return the bare axis of a new figure, from (0, 0) to (wide, high); closed, so that a notebook shows it once."""
    figure, axis = plt.subplots(figsize=(6.6, 6.4 * high / wide + 0.9), dpi=100, layout="constrained")
    plt.close(figure)
    axis.set(xlim=(-0.1, wide + 0.1), ylim=(-0.1, high + 0.1), aspect="equal", frame_on=False, xticks=[], yticks=[])
    figure.suptitle(title, fontsize=16, x=0.01, ha="left")
    figure.supxlabel(note, fontsize=13)
    return axis


def _cells(axis, x: float, y: float, count: int, colour: str, size: float = 1, step: float = 1, **style) -> None:
    """Draw count x count squares from their lower left corner."""
    for row, column in np.ndindex(count, count):
        axis.add_patch(Rectangle((x + step * column, y + step * row), size, size, fc=colour, ec="#7d8896", **style))
