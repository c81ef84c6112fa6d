"""How the time of a training step grows with neurons and tokens: measured points and fitted power laws."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calm.paper.plots import COLOURS, GREY, PAGE, legend_above, use_style

PANELS = {"neurons": "neurons of a session, N", "tokens": "tokens of a trial, T"}
STYLES = {"quantizer": {"color": GREY, "marker": "s"}, "transformer": {"color": COLOURS["CalM"], "marker": "o"}}


def complexity_figure(steps: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """A panel for each axis, on logarithmic scales.

    Args:
        steps: columns `axis` (neurons or tokens), `model` (quantizer or transformer), `size` along the axis, `ms`.
        fits: columns `axis`, `model`, and `exponent` and `factor` of the power law.
    """
    use_style()
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE * 0.75, 2.5), sharey=True)
    for panel, (axis, name) in zip(panels, PANELS.items(), strict=True):
        panel.set(xscale="log", yscale="log", xlabel=name)
        points = steps[steps["axis"] == axis]
        for fit in fits[fits["axis"] == axis].itertuples():
            draw_power_law(panel, points[points["model"] == fit.model], fit.model, fit.exponent, fit.factor)
        sizes = sorted(points["size"].unique())
        panel.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:g}")
        legend_above(panel, columns=1)
    panels[0].set_ylabel("training step (ms)")
    plt.close(figure)  # it can still be saved
    return figure


def draw_power_law(axes: Axes, points: pd.DataFrame, model: str, exponent: float, factor: float) -> None:
    """Measured times as markers and factor * size^exponent as a line."""
    size, style = points["size"].astype(float), STYLES[model]
    axes.plot(size, points["ms"], linestyle="", ms=3, label=f"{model}, exponent {exponent:.2f}", **style)
    axes.plot(size, factor * size**exponent, color=style["color"])
