"""What one step changes: a line for each session from before to after."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from calm.paper.plots import COLOURS, colour, draw_ceilings, legend_above, sessions_text


def paired_lines(axes: Axes, table: pd.DataFrame, ends: Mapping[str, tuple[str, str]], label: str) -> None:
    """Two methods or variants of one metric, paired by session (mean over trainings), and their means as a thick line.

    Args:
        axes: to draw on.
        table: rows of a results table; what belongs to no end is drawn as a horizontal line at its mean, ceilings too.
        ends: method and variant on the left and on the right, by what to call them.
        label: of the y axis.
    """
    keys = pd.MultiIndex.from_frame(table[["method", "variant"]])
    shown = table[keys.isin(list(ends.values()))]
    values = shown.pivot_table(index="session", columns=["method", "variant"], values="value")[list(ends.values())]
    after, _ = list(ends.values())[-1]
    axes.plot([0, 1], values.to_numpy().T, color="0.6", lw=0.6, marker="o", ms=2.2, mfc="white", mew=0.5)
    axes.plot([0, 1], values.mean(), color=colour(after), lw=2.2, marker="o", ms=4)
    rest = table[~keys.isin(list(ends.values())) & (table["method"] != "ceiling")]
    for method, mean in rest.groupby("method", sort=False)["value"].mean().items():
        axes.axhline(mean, color=COLOURS[method], lw=1.2, label=method)
    draw_ceilings(axes, table[table["method"] == "ceiling"])
    if not rest.empty:
        legend_above(axes, columns=2)
    axes.set_xticks([0, 1], list(ends))
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylabel(label)
    axes.set_xlabel(sessions_text(shown).replace("mean ± s.e.m.", "thin: each by itself, thick: mean"))
