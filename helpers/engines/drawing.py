"""What all figures share: their style, and how bars are laid out."""

from collections.abc import Callable
from functools import wraps

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in one style and close the figure, so that a notebook shows it once, as the value of its cell."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        style = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=1.15)
        style |= {"figure.constrained_layout.use": True, "figure.dpi": 90, "savefig.dpi": 90}
        style |= {"axes.titlelocation": "left", "image.interpolation": "nearest"}
        with plt.rc_context(style):
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # lays the figure out while the style holds
        plt.close(figure)
        return figure

    return drawn


def one_axis(size: tuple[float, float], title: str, xlabel: str = "", ylabel: str = "") -> plt.Axes:
    """Return the one axis of a new figure of this size in inches."""
    return plt.subplots(figsize=size, subplot_kw={"title": title, "xlabel": xlabel, "ylabel": ylabel})[1]


def lay_out_bars(axis: plt.Axes, legend_columns: int = 1) -> None:
    """Put the first of horizontal bars on top, without lines along them, and the legend clear of them."""
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.figure.legend(loc="outside lower right", ncols=legend_columns)
