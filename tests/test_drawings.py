"""The drawings: what they count and measure agrees with torch and the layer table; how they look, a person judges."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Rectangle
from torch import nn

from helpers import drawings
from helpers.models import MODELS, build
from helpers.models.blocks import SeparableBlock
from helpers.receptive_field import layer_table, total


def words(figure):
    """Return all that is written in a figure."""
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    written = [text.get_text() for axis in figure.axes for text in axis.texts]
    return "\n".join([figure.get_suptitle(), figure.get_supxlabel(), *written, *legends])


@pytest.mark.parametrize(
    "draw",
    [drawings.convolution, drawings.separable, drawings.residual, drawings.batch_norm],
)
def test_a_drawing_has_a_title_and_is_closed(draw):
    assert draw().get_suptitle() and plt.get_fignums() == []


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}], ids=str)
def test_a_convolution_is_drawn_with_as_many_outputs_as_it_has(options):
    side = nn.Conv2d(1, 1, 3, **options)(torch.zeros(1, 1, 7, 7)).shape[-1]
    figure = drawings.convolution(**options)
    assert f"{side}x{side} outputs" in words(figure)
    cells = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(cells) == 49 + side**2 + 2 * (9 + 1 + 1)


def test_the_weights_of_a_separable_convolution_are_counted():
    block = SeparableBlock(4, 6)
    weights = sum(layer.weight.numel() for layer in block if isinstance(layer, nn.Conv2d))
    assert f"= {weights} weights" in words(drawings.separable())
    assert f"= {nn.Conv2d(4, 6, 3, bias=False).weight.numel()}" in words(drawings.separable())


def test_an_inverted_residual_is_wide_in_the_middle():
    heights = {
        inverted: [round(bar.get_height(), 1) for bar in drawings.residual(inverted).axes[0].patches[:9]]
        for inverted in (False, True)
    }
    bars = {inverted: [high for high in found if high > 0.5] for inverted, found in heights.items()}
    assert len(set(bars[False])) == 1
    narrow, wide, same, last = bars[True]
    assert narrow == last < wide == same


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_drawn_with_every_layer_and_its_receptive_field(name):
    model = build(name)
    table = layer_table(model)
    figure = drawings.network(table, name)
    head = table.kind.isin(["global pool", "flatten"]).to_numpy().argmax()
    stages = table[:head].jump.nunique()
    assert len(figure.axes[0].patches) == head + 2 * stages
    assert f"{total(model)} px" in words(figure)
    assert ("dilated" in words(figure)) == (table.dilation > 1).any()
