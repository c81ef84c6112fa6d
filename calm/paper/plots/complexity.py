"""How the time of a training step grows with neurons and tokens: measured points and fitted power laws."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from calm.paper.plots import COLOURS, GREY, PAGE, use_style

PANELS = {"neurons": "neurons of a session, N", "tokens": "tokens of a trial, T"}
STYLES = {"quantizer": {"color": GREY, "marker": "s"}, "transformer": {"color": COLOURS["CalM"], "marker": "o"}}


def complexity_figure(steps: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """A panel for each axis, on logarithmic scales.

    Args:
        steps: columns `axis` (neurons or tokens), `model` (quantizer or transformer), `size` along the axis, `ms`.
        fits: columns `axis`, `model`, and `exponent` and `factor` of the power law.
    """
    use_style()
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE * 0.75, 2.2), sharey=True)
    for panel, (axis, name) in zip(panels, PANELS.items(), strict=True):
        for fit in fits[fits["axis"] == axis].itertuples():
            points = steps[(steps["axis"] == axis) & (steps["model"] == fit.model)]
            style, size = STYLES[fit.model], points["size"].astype(float)
            panel.plot(
                size, points["ms"], linestyle="", ms=3, label=f"{fit.model}, exponent {fit.exponent:.2f}", **style
            )
            panel.plot(size, fit.factor * size**fit.exponent, color=style["color"])
            panel.legend()
        panel.set(xscale="log", yscale="log", xlabel=name)
    panels[0].set_ylabel("training step (ms)")
    plt.close(figure)  # it can still be saved
    return figure
