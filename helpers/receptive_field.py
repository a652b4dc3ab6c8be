"""What one unit of a feature map can see of the image: a row per layer, for any network.

Along each axis a unit sees an interval of pixels, its window. A layer of kernel k, dilation d, stride s and
leading padding p turns the first unit's window [first, last] into [first - p j, last + (d (k - 1) - p) j], and
the jump j from one unit to the next into s j. So rf = last - first + 1 grows by d (k - 1) j; padding moves the
window and does not widen it. Where branches meet, a unit sees the union of their windows. Source: Araujo, Norris
and Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.engines.oracle import Locator, unit_gradient
from helpers.engines.oracle import gradient_receptive_field as gradient_receptive_field
from helpers.engines.spreadsheet import to_xlsx as to_xlsx
from helpers.engines.tracing import COLUMNS, Trace, black_images, name_global_pools
from helpers.errors import BadInput


def layer_table(model: nn.Module, input_size: Sequence[int] = (3, 32, 32)) -> pd.DataFrame:
    """Return a row for each layer that moves or widens the window or is fully connected, in the order they run.

    Numbers are whole where height and width agree, else tuples (height, width); windows are in pixels of the image.

    layer: path of the module; for a functional call the path of the module that makes it, and the call.
    kind: Conv2d, ConvTranspose2d (of a stride), Upsample, MaxPool2d, AvgPool2d, Adaptive…, pad, crop, Linear; "global
        pool" for the average of a whole map, "global max pool" and so on; "flatten" before a fully connected layer.
    kernel, stride, dilation, groups: the layer's own; of a global pool or flatten, the kernel is the map's size.
    padding: p on all four sides, (height, width), or (top, bottom, left, right) with what ceil_mode adds.
    output: (channels, height, width); channels_in: of the input.
    params: weight and bias; 0 where an earlier row has counted them.
    jump, rf: of the output, behind upsampling of the unit that sees most; from a global pool on, rf counts it in.
    start: the centre of the first unit's window, from the centre of the image's first pixel.
    inputs: the rows that feed this one, several where branches meet; -1 is the image.

    `attrs` has the input_size and, as output_rows, the rows that feed the network's output.
    Raises `BadInput` for what is not followed, for branches whose jumps differ, for an input that does not fit.
    """
    trace = Trace(black_images(model, input_size))
    with torch.no_grad():
        output = trace.run(model)
    table = pd.DataFrame(trace.rows, columns=COLUMNS)
    table.attrs = {"input_size": tuple(input_size), "output_rows": output.rows}
    if output.unpooled:
        name_global_pools(table, trace.covering)
    return table


def total(model: nn.Module, input_size: Sequence[int] = (3, 32, 32), with_pooling: bool = False) -> int:
    """Return the receptive field, in pixels, of the last feature map before global pooling or flattening.

    `with_pooling` counts these in. Where height and width differ it is the smaller, which a lower bound asks for.
    """
    trace = Trace(black_images(model, input_size))
    with torch.no_grad():
        output = trace.run(model)
    return min(output.rf.tolist() if with_pooling else output.before_pooling())


def unproductive(table: pd.DataFrame, image_side: int = 32) -> pd.Series:
    """Return which layers of a `layer_table` get an input that already sees the whole image: none widens the view.

    Source: Richter et al., "Should You Go Deeper? Optimizing Convolutional Neural Network Architectures without
    Training" (2021).
    """
    fields = {number: int(np.min(rf)) for number, rf in enumerate(table.rf)}
    fields[-1] = 1  # the image
    return pd.Series([max(fields[i] for i in inputs) >= image_side for inputs in table.inputs], table.index)


@torch.enable_grad()
def effective_receptive_field(model: nn.Module, images: Tensor, input_size: Sequence[int] | None = None) -> np.ndarray:
    """Return how much the central unit of the last map before global pooling heeds each pixel, (H, W), largest 1.

    It is the absolute gradient of the sum over that unit's channels, averaged over the images (N, C, H, W) and their
    channels; the images are normalised as the network expects. `input_size` is what its head is made for, where the
    images are larger, so that their border does not cut the field off. Source: Luo et al., "Understanding the
    Effective Receptive Field in Deep Convolutional Neural Networks" (NIPS 2016), section 3.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise BadInput("An effective receptive field needs images; give a tensor (N, channels, height, width).")
    black = black_images(model, input_size or images.shape[1:])
    gradient, _ = unit_gradient(model, images.to(black), Locator(black).run(model).maker)
    return gradient / gradient.max()


def effective_diameter(field: np.ndarray) -> float:
    """Return the side, in pixels, of the square as large as the area above 4.55 % of the largest value.

    This is how Luo et al. (2016, section 3.1) measure; 1 - 95.45 %, the threshold, is a Gaussian's share beyond two
    standard deviations, and its height at 2.5.
    """
    return float(np.sqrt((field > (1 - 0.9545) * field.max()).sum()))
